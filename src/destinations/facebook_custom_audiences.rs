//! Meta's custom audiences from customer lists: people are added and removed by hashed identifiers.
//!
//! Meta says how many rows it could not read, never which. A batch that mixes members who enter and who
//! leave becomes two requests; the second may fail after the first one worked, which is sound, since
//! adding who is there and removing who is not change nothing: the batch is repeated as a whole.

mod replacement;
mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use http::Method;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::facebook_api::{API_VERSION, APP_SECRET, Credentials, Graph};
use super::membership::{self, COUNTRY, List, Member, Parted};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, HTTP_OPTIONS,
    Idempotency, Maturity, OptionDoc, Outcome, Quota, Reader, Receipts, Remote, Secret, Spec,
    Target,
};
use crate::delivery::Session;
use crate::finding::Finding;
use replacement::{Replacement, Replacements};
use rows::{FIELDS, PROFILE, Profiles, Rows};
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Meta's custom audiences.
pub static SPEC: Spec = Spec {
    kind: "facebook_custom_audiences",
    title: "Facebook Custom Audiences",
    summary: "Adds and removes people of a Meta custom audience by hashed identifiers.",
    identifiers: "email and phone as SHA-256, advertising ids plain; optionally an external id",
    match_fields: FIELDS,
    profile: PROFILE,
    receipts: Receipts::Counts,
    min_members: Some(100),
    replaces: true,
    // 5,000 calls an hour with limited access, more with full access.
    quotas: &[Quota { limit: 5_000, per: std::time::Duration::from_hours(1) }],
    batch: BatchLimits { rows: 5_000, max_rows: 10_000, bytes: 20_000_000, row_bytes: 100_000 },
    concurrency: 4,
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.facebook_custom_audiences]
type = "facebook_custom_audiences"
access_token = "${FACEBOOK_ACCESS_TOKEN}"
ad_account_id = "1234567890"
customer_file_source = "user_provided_only"
"#,
    notes: &[
        "An audience is found by the id or name in the sync's `list`, else by the model's name among the account's customer lists; where there is none it is created, and of several with one name none is picked.",
        "Meta only counts the rows that it could not read: they are shown as a count, and all rows are kept as sent, so that they are taken back later.",
        "Matching takes up to 24 hours; an audience serves ads from about 100 matched people, and one that no ad used for two years is flagged and then deleted.",
        "By default people are matched by `email`, `phone`, `idfa` and `gaid`; `external_id` travels unhashed and must be named in `match_by`.",
        "Names, city, state, zip, gender and date of birth are sent only with `send_profile = true`; they are absent when a member is removed, who is removed by the other identifiers alone.",
        "`customer_file_source` is a declaration to Meta and has no default.",
        "`--replace` replaces the whole audience in one session of Meta's, which must end within about 90 minutes, and during which other changes of the audience fail; its last batch repeats a member who was sent already (that Meta takes batches in any order is uncertain).",
        "Limited Data Use is not sent with list members, since the encoding of its columns is uncertain: leave people out of the model who need it.",
        "The limit of calls is that of limited access (5,000 an hour and 40 more per audience); with full access set `rate_limit`.",
        "Calls slow down when Meta's usage headers say 80 percent, and pause at 95 percent or for as long as Meta says.",
        "An error 368 (temporarily blocked) halts the destination until the next run.",
        "The size of a request has no published limit: 5,000 rows are sent by default, 10,000 at most.",
        "An expired `api_version` is served by Meta with the next oldest one, so behaviour may change silently.",
    ],
    ..Spec::LIST
};

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::required("access_token", "token of a system user with `ads_management`"),
    OptionDoc::required("ad_account_id", "number of the ad account, with or without `act_`"),
    OptionDoc::required(
        "customer_file_source",
        "where the data comes from, as Meta asks it: \"user_provided_only\", \"partner_provided_only\" or \"both_user_and_partner_provided\"",
    ),
    OptionDoc::optional(
        "match_by",
        "of \"email\", \"phone\", \"idfa\", \"gaid\" and \"external_id\"; default all but the last",
    ),
    OptionDoc::optional(
        "send_profile",
        "whether hashed names, places, gender and date of birth travel with new members; default false",
    ),
    COUNTRY,
    APP_SECRET,
    API_VERSION,
];

const MATCH_BY: &[&str] = &["email", "phone", "idfa", "gaid"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    access_token: Secret,
    ad_account_id: String,
    customer_file_source: Source,
    #[serde(default, deserialize_with = "membership::several")]
    match_by: Option<Vec<String>>,
    #[serde(default)]
    send_profile: bool,
    country: Option<String>,
    app_secret: Option<Secret>,
    api_version: Option<String>,
}

/// What an advertiser declares of where the data comes from.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    UserProvidedOnly,
    PartnerProvidedOnly,
    BothUserAndPartnerProvided,
}

impl Source {
    const fn word(self) -> &'static str {
        match self {
            Self::UserProvidedOnly => "USER_PROVIDED_ONLY",
            Self::PartnerProvidedOnly => "PARTNER_PROVIDED_ONLY",
            Self::BothUserAndPartnerProvided => "BOTH_USER_AND_PARTNER_PROVIDED",
        }
    }
}

/// The customer lists of one ad account.
#[derive(Debug)]
struct Audiences {
    graph: Graph,
    /// `act_…`.
    account: String,
    source: Source,
    /// Where they are sent.
    profiles: Option<Profiles>,
    replacements: Replacements,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    let number = options.ad_account_id.strip_prefix("act_").unwrap_or(&options.ad_account_id);
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(vec![reader.refuse("ad_account_id", "is not the number of an ad account")]);
    }
    let fields = membership::fields(reader, FIELDS, options.match_by.as_deref(), MATCH_BY)?;
    let country = membership::country(reader, options.country)?;
    let credentials = Credentials {
        access_token: options.access_token,
        app_secret: options.app_secret.clone(),
        api_version: options.api_version,
    };
    let graph = Graph::of(reader, common, credentials)?;
    let secrets = graph.secrets().into_iter().chain(options.app_secret).collect();
    let audiences = Audiences {
        graph,
        account: format!("act_{number}"),
        source: options.customer_file_source,
        profiles: options.send_profile.then(|| Profiles { country: country.clone() }),
        replacements: Replacements::default(),
    };
    Ok(Built::new(Arc::new(audiences), secrets).matching(fields).in_country(country))
}

#[derive(Debug, Deserialize)]
struct Audience {
    id: String,
    #[serde(default)]
    name: String,
    subtype: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Page {
    data: Vec<Audience>,
    #[serde(default)]
    paging: Paging,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Paging {
    cursors: Cursors,
    next: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cursors {
    after: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Uploaded {
    num_received: usize,
    num_invalid_entries: u64,
}

impl Audience {
    /// Whether it holds a customer list; nothing can be uploaded to others.
    fn is_list(&self) -> bool {
        self.subtype.as_deref().is_none_or(|subtype| subtype == "CUSTOM")
    }
}

#[async_trait]
impl Destination for Audiences {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        let request = self.graph.get(&[&self.account], &[("fields", "id")]);
        session.send(request).await?.json::<List>().map(|_| ())
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        if let Some(remote) = &target.remote {
            return Ok(remote.clone());
        }
        let name = membership::name(target);
        if target.list.is_some() && is_id(name) {
            return self.existing(session, name).await;
        }
        match self.find(session, name).await? {
            Some(list) => Ok(list.into_remote()),
            None => self.create(session, name).await,
        }
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let list = List::of(remote)?;
        let replacement = Replacement::of(remote);
        let Parted { entering, leaving } = Parted::of(batch);
        let mut receipt = batch.delivered();
        let mut unusable = 0;
        // Somebody whose email changed leaves by the old one before entering by the new one.
        for (method, members) in [(Method::DELETE, leaving), (Method::POST, entering)] {
            let profiles = self.profiles.as_ref().filter(|_| method == Method::POST);
            let rows = Rows::of(&members, profiles);
            for position in rows.empty() {
                let reason = "it has no identifier that Meta matches by".to_owned();
                // Positions are those of this batch.
                let _ = receipt.set(position, Outcome::Rejected { reason });
            }
            unusable += match &replacement {
                Some(replacement) => self.replace(session, replacement, &rows).await?,
                None => self.upload(session, &list, method, &rows).await?,
            };
        }
        if unusable > 0 {
            receipt.notice(unusable, "Meta could not read the row");
        }
        Ok(receipt.into())
    }

    async fn begin_replacing(
        &self,
        _session: &Session,
        remote: &Remote,
        started: DateTime<Utc>,
    ) -> Result<Remote, Fault> {
        Ok(Replacement::begun(List::of(remote)?, started).into_remote())
    }

    async fn finish_replacing(&self, session: &Session, remote: &Remote) -> Result<(), Fault> {
        let last =
            Replacement::of(remote).and_then(|one| Some((self.replacements.last(&one)?, one)));
        let Some((last, replacement)) = last else {
            let reason = "Meta replaces no audience by nobody".to_owned();
            return Err(Fault::Misconfigured { reason });
        };
        let body = self.replacements.body(&replacement, &last, true);
        self.send_rows(session, Method::POST, [&replacement.id, "usersreplace"], (&body, 1))
            .await?;
        Ok(())
    }
}

impl Audiences {
    /// The audience of that id, which the project names.
    async fn existing(&self, session: &Session, id: &str) -> Result<Remote, Fault> {
        let request = self.graph.get(&[id], &[("fields", "id,name,subtype")]);
        let audience: Audience = match session.send(request).await {
            Ok(response) => response.json()?,
            Err(Fault::Misconfigured { reason } | Fault::Rejected { reason }) => {
                return Err(membership::unknown(id, &reason));
            }
            Err(other) => return Err(other),
        };
        if !audience.is_list() {
            return Err(membership::unknown(id, "it is no customer list"));
        }
        Ok(List { id: audience.id }.into_remote())
    }

    /// The customer list of that name.
    async fn find(&self, session: &Session, name: &str) -> Result<Option<List>, Fault> {
        let mut audiences = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut query = vec![("fields", "id,name,subtype"), ("limit", "200")];
            query.extend(after.as_deref().map(|after| ("after", after)));
            let request = self.graph.get(&[&self.account, "customaudiences"], &query);
            let page: Page = session.send(request).await?.json()?;
            audiences.extend(page.data.into_iter().filter(Audience::is_list));
            let next = page.paging.next.and(page.paging.cursors.after);
            if next.is_none() || next == after {
                break;
            }
            after = next;
        }
        let pairs = audiences.iter().map(|audience| (&*audience.id, &*audience.name));
        membership::named(pairs, name)
    }

    async fn create(&self, session: &Session, name: &str) -> Result<Remote, Fault> {
        let body = json!({
            "name": name,
            "subtype": "CUSTOM",
            "customer_file_source": self.source.word(),
        });
        let path = [self.account.as_str(), "customaudiences"];
        let request = self.graph.write(Method::POST, &path, &body).repeatable(false);
        let list: List = session.send(request).await?.json()?;
        Ok(list.into_remote())
    }

    /// One request for the members that enter or for those that leave, none where there are none; how
    /// many rows Meta could not read.
    async fn upload(
        &self,
        session: &Session,
        list: &List,
        method: Method,
        rows: &Rows,
    ) -> Result<u64, Fault> {
        if rows.len() == 0 {
            return Ok(0);
        }
        let body = json!({"payload": {"schema": rows.schema(), "data": rows.data()}});
        self.send_rows(session, method, [&list.id, "users"], (&body, rows.len())).await
    }

    /// The same within a replacement, to which only members who enter belong.
    async fn replace(
        &self,
        session: &Session,
        replacement: &Replacement,
        rows: &Rows,
    ) -> Result<u64, Fault> {
        let Some(last) = rows.last() else { return Ok(0) };
        let payload = json!({"schema": rows.schema(), "data": rows.data()});
        let body = self.replacements.body(replacement, &payload, false);
        let path = [replacement.id.as_str(), "usersreplace"];
        let unusable = self.send_rows(session, Method::POST, path, (&body, rows.len())).await?;
        self.replacements.sent(replacement, last);
        Ok(unusable)
    }

    async fn send_rows(
        &self,
        session: &Session,
        method: Method,
        path: [&str; 2],
        (body, rows): (&Json, usize),
    ) -> Result<u64, Fault> {
        let request = self.graph.write(method, &path, body);
        let uploaded: Uploaded = session.send(request).await?.json()?;
        if uploaded.num_received != rows {
            let received = uploaded.num_received;
            let reason = format!("Meta received {received} rows of the {rows} that were sent");
            return Err(Fault::Protocol { reason });
        }
        Ok(uploaded.num_invalid_entries)
    }
}

/// Ids are numbers of at least ten digits, which no name of a list is by accident.
fn is_id(text: &str) -> bool {
    text.len() >= 10 && text.bytes().all(|byte| byte.is_ascii_digit())
}
