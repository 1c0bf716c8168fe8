//! The data extension of a sync: found by external key or name, or created once.

use serde_json::{Value as Json, json};

use super::super::Fault;
use super::super::marketing_cloud_api::{Api, Extension};
use super::super::membership::{self, List};
use super::members::{Columns, Exit};
use crate::delivery::Session;

/// A longer name gets a key of Marketing Cloud's own.
const LONGEST_KEY: usize = 36;

/// What is found is used as it is, if it can be.
pub(super) async fn found(
    api: &Api,
    session: &Session,
    name: &str,
    columns: &Columns,
) -> Result<Option<List>, Fault> {
    let found = api.find(session, name).await?;
    let by_key = found.iter().find(|item| item.key.eq_ignore_ascii_case(name));
    let item = match by_key {
        Some(item) => item,
        None => {
            let pairs = found.iter().map(|item| (item.key.as_str(), item.name.as_str()));
            let Some(list) = membership::named(pairs, name)? else { return Ok(None) };
            let Some(item) = found.iter().find(|item| item.key == list.id) else { return Ok(None) };
            item
        }
    };
    let extension =
        Extension { key: item.key.clone(), columns: api.columns(session, &item.id).await? };
    extension.keyed_by(&columns.key)?;
    for wanted in columns.others() {
        if extension.column(wanted).is_none() {
            return Err(
                extension.unusable(&format!("lacks the column `{wanted}`: add it, nullable"))
            );
        }
    }
    Ok(Some(List { id: extension.key }))
}

/// Not repeatable: names are unique, a second one would be refused.
pub(super) async fn created(
    api: &Api,
    session: &Session,
    name: &str,
    (folder, columns): (Option<u64>, &Columns),
) -> Result<List, Fault> {
    let Some(folder) = folder else {
        let reason = format!(
            "there is no data extension with the external key or name `{name}`: make it, name \
             another one as the sync's `list`, or give `folder` to have it created"
        );
        return Err(Fault::Misconfigured { reason });
    };
    let mut body = json!({
        "name": name,
        "categoryId": folder,
        "isSendable": true,
        "sendableCustomObjectField": columns.key,
        "sendableSubscriberField": "_SubscriberKey",
        "fields": fields(columns),
    });
    if name.chars().count() <= LONGEST_KEY {
        body["key"] = json!(name);
    }
    api.create(session, &body).await.map(|key| List { id: key })
}

fn fields(columns: &Columns) -> Vec<Json> {
    let key = (columns.key.as_str(), "Text", Some(254), true);
    let email = columns.email.iter().map(|name| (name.as_str(), "EmailAddress", Some(254), false));
    let flag = match &columns.exit {
        Exit::Flag(name) => Some((name.as_str(), "Boolean", None, false)),
        Exit::Delete => None,
    };
    let all = std::iter::once(key).chain(email).chain(flag).enumerate();
    all.map(|(ordinal, (name, kind, length, is_key))| field(ordinal, name, (kind, length), is_key))
        .collect()
}

/// Every one of these must be said.
fn field(ordinal: usize, name: &str, (kind, length): (&str, Option<u32>), is_key: bool) -> Json {
    let mut field = json!({
        "name": name,
        "type": kind,
        "isPrimaryKey": is_key,
        "isNullable": !is_key,
        "ordinal": ordinal,
        "isTemplateField": false,
        "isHidden": false,
        "isReadOnly": false,
        "isInheritable": false,
        "isOverridable": false,
        "mustOverride": false,
    });
    if let Some(length) = length {
        field["length"] = json!(length);
    }
    field
}
