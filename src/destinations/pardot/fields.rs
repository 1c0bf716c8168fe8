//! Custom fields of prospects: what they are called, which types they have, and how those that a sync
//! needs are found or created.
//!
//! What it promises: nothing is created that is there already, and a field of another type stops the
//! sync before anything is sent.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::json;

use super::super::salesforce_api::plain;
use super::super::{Fault, Field, FieldKind};
use super::Unit;
use crate::delivery::Session;

/// Marks custom fields in the names of version 5; what is listed and created lacks it.
const SUFFIX: &str = "__c";
/// Pages of a thousand fields each that are read at most.
const MOST_PAGES: usize = 10;

/// What columns are called there.
#[derive(Debug)]
pub(super) struct Naming {
    /// Fields that every prospect has and that may be written to.
    pub standard: BTreeSet<String>,
}

impl Naming {
    pub(super) fn name(&self, column: &str) -> String {
        if self.standard.contains(column) || column.ends_with(SUFFIX) {
            return column.to_owned();
        }
        format!("{}{SUFFIX}", plain(column))
    }

    pub(super) fn objection(&self, column: &str) -> Option<String> {
        const OWN: &[&str] = &["email", "firstName", "lastName", "company", "id"];
        const CONSENT: &[&str] = &["isDoNotEmail", "isDoNotCall", "optedOut", "isEmailHardBounced"];
        let is_consent = CONSENT.iter().any(|own| own.eq_ignore_ascii_case(column));
        if self.standard.contains(column) && is_consent {
            return Some(format!(
                "the standard field `{column}` decides who may be written to, which is never changed"
            ));
        }
        if self.standard.contains(column) && OWN.contains(&column) {
            return Some(format!("the standard field `{column}` is written by itself"));
        }
        (self.name(column) == SUFFIX).then(|| {
            format!("`{column}` leaves no name for a field of a prospect: give it another alias")
        })
    }

    /// The id under which a custom field is listed; `None` for standard ones.
    fn listed<'a>(&self, name: &'a str) -> Option<&'a str> {
        if self.standard.contains(name) { None } else { name.strip_suffix(SUFFIX) }
    }
}

/// A field as it is listed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Custom {
    field_id: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Finds every field that the sync writes, and creates what is missing.
pub(super) async fn ensure(
    unit: &Unit,
    session: &Session,
    naming: &Naming,
    wanted: &[Field],
    create: bool,
) -> Result<(), Fault> {
    let names = wanted.iter().map(|field| (naming.name(&field.name), field));
    let custom: Vec<(String, &Field)> =
        names.filter_map(|(name, field)| Some((naming.listed(&name)?.to_owned(), field))).collect();
    if custom.is_empty() {
        return Ok(());
    }
    let found = match listed(unit, session).await {
        // What follows does not depend on the answer.
        Err(Fault::Rehearsed) => return Ok(()),
        other => other?,
    };
    for (id, field) in custom {
        match found.iter().find(|custom| custom.field_id.eq_ignore_ascii_case(&id)) {
            Some(custom) => custom.verify(field.kind)?,
            None if create => declare(unit, session, &id, field).await?,
            None => return Err(missing(&id, field.kind)),
        }
    }
    Ok(())
}

async fn listed(unit: &Unit, session: &Session) -> Result<Vec<Custom>, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Page {
        values: Vec<Custom>,
        next_page_token: Option<String>,
    }
    let mut all = Vec::new();
    let mut token: Option<String> = None;
    for _ in 0..MOST_PAGES {
        let mut request = unit.get(&["objects", "custom-fields"]);
        request.url.query_pairs_mut().append_pair("fields", "id,name,fieldId,type");
        // A token stands alone beside the fields.
        match &token {
            Some(token) => request.url.query_pairs_mut().append_pair("nextPageToken", token),
            None => request.url.query_pairs_mut().append_pair("limit", "1000"),
        };
        let Page { values, next_page_token } = session.send(request).await?.json()?;
        all.extend(values);
        match next_page_token {
            Some(next) => token = Some(next),
            None => return Ok(all),
        }
    }
    Err(Fault::Protocol { reason: "the list of custom fields does not come to an end".into() })
}

async fn declare(unit: &Unit, session: &Session, id: &str, field: &Field) -> Result<(), Fault> {
    let body = json!({"name": field.name, "fieldId": id, "type": field_type(field.kind)});
    let mut request = unit.post(&["objects", "custom-fields"], &body)?;
    request.url.query_pairs_mut().append_pair("fields", "id,name,fieldId,type");
    // A second one with the same id is refused, so that repeating is harmless.
    let response = match session.send(request).await {
        Err(Fault::Rejected { reason }) => {
            let reason = format!("the custom field `{id}` cannot be created: {reason}");
            return Err(Fault::Misconfigured { reason });
        }
        other => other?,
    };
    // One that we may not read is answered with nothing.
    if response.status == 204 && response.body.is_empty() {
        return Ok(());
    }
    let created: Custom = response.json()?;
    if created.field_id.eq_ignore_ascii_case(id) {
        return Ok(());
    }
    let reason = format!("the reply to the creation of the field `{id}` is about another one");
    Err(Fault::Protocol { reason })
}

fn missing(id: &str, kind: FieldKind) -> Fault {
    let wanted = field_type(kind);
    Fault::Misconfigured {
        reason: format!(
            "prospects have no custom field `{id}`: create it with the type `{wanted}`, or set \
             `create_fields = true`"
        ),
    }
}

impl Custom {
    fn verify(&self, kind: FieldKind) -> Result<(), Fault> {
        let Self { field_id, kind: found } = self;
        if fits(kind, found) {
            return Ok(());
        }
        let wanted = field_type(kind);
        Err(Fault::Misconfigured {
            reason: format!(
                "the custom field `{field_id}` is of type `{found}`, not `{wanted}`: send the \
                 column under another alias"
            ),
        })
    }
}

const fn field_type(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Integer | FieldKind::Number => "Number",
        FieldKind::Date => "Date",
        FieldKind::Nested => "Textarea",
        // A checkbox there is a choice among several values.
        FieldKind::Bool | FieldKind::Text | FieldKind::Timestamp => "Text",
    }
}

/// Whether a field of that type can hold such values, all of which travel as text.
fn fits(kind: FieldKind, found: &str) -> bool {
    let text = matches!(found, "Text" | "Textarea" | "Hidden");
    let choice = matches!(found, "Dropdown" | "Radio Button");
    match kind {
        FieldKind::Integer | FieldKind::Number => text || found == "Number",
        FieldKind::Date => text || found == "Date",
        FieldKind::Bool => text || choice || found == "Checkbox",
        FieldKind::Text => text || choice,
        FieldKind::Timestamp | FieldKind::Nested => text,
    }
}
