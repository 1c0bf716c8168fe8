//! The campaign that stands for a list: found by id or name, or created.

use http::Method;
use serde::{Deserialize, Serialize};

use super::super::membership::{List, name, named, unknown};
use super::super::salesforce_api::{Org, found, quoted};
use super::super::{Fault, Target};
use crate::delivery::Session;

/// Longest name of a campaign.
const LONGEST: usize = 80;

/// Whether members can be written at all.
pub(super) async fn may_write(org: &Org, session: &Session) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Description {
        name: String,
        createable: bool,
        deletable: bool,
    }
    let request = org.get(&["sobjects", "CampaignMember", "describe"]);
    let Description { name, createable, deletable } = session.send(request).await?.json()?;
    match (name.as_str(), createable && deletable) {
        ("CampaignMember", true) => Ok(()),
        ("CampaignMember", false) => Err(Fault::Denied {
            reason: "the user may not create and delete members of campaigns".into(),
        }),
        _ => Err(Fault::Protocol { reason: "the description is not that of members".into() }),
    }
}

pub(super) fn objection(target: &Target) -> Option<String> {
    let name = name(target);
    (name.chars().count() > LONGEST).then(|| {
        format!("`{name}` is longer than the {LONGEST} characters that a campaign's name may have")
    })
}

pub(super) async fn opened(org: &Org, session: &Session, target: &Target) -> Result<List, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Campaign {
        id: String,
        name: String,
    }
    let wanted = name(target);
    if target.list.is_some() && is_id(wanted) {
        return existing(org, session, wanted).await;
    }
    let query = format!("SELECT Id, Name FROM Campaign WHERE Name = {} LIMIT 3", quoted(wanted));
    let campaigns: Vec<Campaign> = found(org, session, &query).await?;
    // Salesforce compares names whatever their case.
    let all = campaigns.iter().map(|campaign| {
        let same = campaign.name.to_lowercase() == wanted.to_lowercase();
        (campaign.id.as_str(), if same { wanted } else { "" })
    });
    match named(all, wanted)? {
        Some(list) => Ok(list),
        None => created(org, session, wanted).await,
    }
}

fn is_id(text: &str) -> bool {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    text.starts_with("701") && matches!(text.len(), 15 | 18) && is_plain
}

/// Salesforce takes ids of 15 characters too, and answers with those of 18.
async fn existing(org: &Org, session: &Session, id: &str) -> Result<List, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Campaign {
        id: String,
    }
    let mut request = org.get(&["sobjects", "Campaign", id]);
    request.url.query_pairs_mut().append_pair("fields", "Id");
    let campaign: Campaign = match session.send(request).await {
        Ok(response) => response.json()?,
        Err(Fault::Misconfigured { reason } | Fault::Rejected { reason }) => {
            return Err(unknown(id, &reason));
        }
        Err(fault) => return Err(fault),
    };
    if campaign.id.starts_with(id) {
        return Ok(List { id: campaign.id });
    }
    Err(Fault::Protocol { reason: format!("the reply is not about the campaign `{id}`") })
}

/// Not repeatable: names are not unique.
async fn created(org: &Org, session: &Session, name: &str) -> Result<List, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Campaign<'a> {
        name: &'a str,
        is_active: bool,
    }
    #[derive(Deserialize)]
    struct Created {
        id: String,
        success: bool,
    }
    let campaign = Campaign { name, is_active: true };
    let request = org.write(Method::POST, &["sobjects", "Campaign"], &campaign)?;
    let Created { id, success } = match session.send(request.repeatable(false)).await {
        Ok(response) => response.json()?,
        Err(Fault::Rejected { reason }) => {
            let reason = format!("Salesforce does not create the campaign `{name}`: {reason}");
            return Err(Fault::Misconfigured { reason });
        }
        Err(fault) => return Err(fault),
    };
    if success && is_id(&id) {
        return Ok(List { id });
    }
    Err(Fault::Protocol { reason: format!("the reply to the creation of `{name}` has no id") })
}
