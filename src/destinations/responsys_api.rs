//! Responsys' REST API as every destination of it speaks to it: the login and where it sends us,
//! what replies mean, and how members of a list and of its extension tables are merged.
//!
//! What it promises: requests go to the login host, and from there only to hosts of the same domain;
//! nobody is ever opted in; a member is only called merged where the reply holds its id.

mod login;
mod requests;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};
use url::Url;

use super::{Common, Fault, FieldKind, OptionDoc, Quota, Reader, Secret};
use crate::delivery::{Grant, Request, Response, Session, standard};
use crate::finding::Finding;
use login::Login;
pub(super) use requests::{Answer, POLL};

/// Where the account logs in and who we are, as options of a destination.
pub(super) const LOGIN_HOST: OptionDoc = OptionDoc::optional(
    "login_host",
    "host of the account's login, such as \"login5.responsys.net\"; or give `base_url`",
);
pub(super) const USER_NAME: OptionDoc = OptionDoc::required("user_name", "name of an API user");
pub(super) const PASSWORD: OptionDoc = OptionDoc::required("password", "password of that user");
pub(super) const LIST: OptionDoc = OptionDoc::required("list", "name of the profile list");

/// Per function and minute, as far as they are documented.
pub(super) const ENDPOINTS: &[(&str, Quota)] = &[(LOGIN, TEN), (TABLES, TEN)];
const LOGIN: &str = "login";
const TABLES: &str = "tables";
const TEN: Quota = Quota { limit: 10, per: MINUTE };
/// "Please try again in a minute."
const MINUTE: Duration = Duration::from_mins(1);

/// One profile list.
#[derive(Debug)]
pub(super) struct Api {
    base: Url,
    grant: Arc<dyn Grant>,
    list: String,
}

/// What is said of a refusal. Nothing in it can be relied on to be there.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Refusal {
    error_code: Option<String>,
    detail: Option<String>,
}

/// An extension table of the list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Extension {
    profile_extension: Named,
    fields: Vec<Column>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    object_name: String,
}

#[derive(Debug, Clone, Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Column {
    pub field_name: String,
    pub field_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Merged {
    record_data: RecordData,
}

#[derive(Deserialize)]
struct RecordData {
    records: Vec<Vec<Json>>,
}

/// What members are matched by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    CustomerId,
    Email,
}

/// Rows that share their columns.
#[derive(Debug)]
pub(super) struct Rows {
    pub columns: Vec<String>,
    pub records: Vec<Vec<String>>,
}

impl Key {
    /// The column of the list.
    pub(super) const fn column(self) -> &'static str {
        match self {
            Self::CustomerId => "CUSTOMER_ID_",
            Self::Email => "EMAIL_ADDRESS_",
        }
    }

    /// What extension tables call it: there the underscore must be missing.
    const fn bare(self) -> &'static str {
        match self {
            Self::CustomerId => "CUSTOMER_ID",
            Self::Email => "EMAIL_ADDRESS",
        }
    }
}

impl Api {
    /// The list of the account that `login_host` or `base_url` names.
    pub(super) fn of(
        reader: &Reader<'_>,
        common: &Common,
        login_host: Option<&str>,
        (user, password): (Secret, Secret),
        list: String,
    ) -> Result<Self, Vec<Finding>> {
        let address = match (&common.base_url, login_host) {
            (Some(base), _) => Ok((base.clone(), None)),
            (None, Some(host)) => login::address(host).map(|(base, domain)| (base, Some(domain))),
            (None, None) => Err("is missing, and there is no `base_url`"),
        };
        let (base, domain) = address.map_err(|fact| {
            let hint = "it is where you log in, such as `login5.responsys.net`";
            vec![reader.refuse("login_host", fact).hint(hint)]
        })?;
        let grant = Arc::new(Login { base: base.clone(), domain, user, password });
        Ok(Self { base, grant, list })
    }

    /// Below the list.
    fn request(&self, method: http::Method, path: &[&str]) -> Request {
        let list = ["lists", self.list.as_str()];
        self.asked(method, "api", &[&list, path].concat())
    }

    fn asked(&self, method: http::Method, api: &str, path: &[&str]) -> Request {
        let root = ["rest", api, "v1.3"];
        Request::new(method, below(&self.base, &[&root, path].concat()))
            .granted(&self.grant)
            .header("accept", "application/json")
            .reading(answered)
    }

    /// All extension tables of the list.
    pub(super) async fn extensions(&self, session: &Session) -> Result<Vec<Extension>, Fault> {
        let request = self.request(http::Method::GET, &["listExtensions"]);
        session.send(request).await?.json()
    }

    /// Makes an extension table. Not repeatable: a second one would be refused.
    pub(super) async fn create(
        &self,
        session: &Session,
        (folder, table): (&str, &str),
        columns: &[Column],
    ) -> Result<(), Fault> {
        let body = json!({
            "profileExtension": {"objectName": table, "folderName": folder},
            "fields": columns,
        });
        let request = self
            .request(http::Method::POST, &["listExtensions"])
            .json_body(body.to_string().into())
            .endpoint(TABLES)
            .repeatable(false);
        match session.send(request).await {
            Ok(response) if is_done(&response) => Ok(()),
            Ok(response) => Err(Fault::Protocol { reason: response.reason() }),
            Err(Fault::Rejected { reason }) => Err(Fault::Misconfigured {
                reason: format!("Responsys refuses to create the table `{table}`: {reason}"),
            }),
            Err(fault) => Err(fault),
        }
    }

    /// Adds members to the list or updates them: `None` for each that was merged, else why not.
    pub(super) async fn merge_members(
        &self,
        session: &Session,
        key: Key,
        rows: &Rows,
    ) -> Result<Vec<Option<String>>, Fault> {
        let body = json!({
            "recordData": rows.data(),
            "mergeRule": {
                "htmlValue": "H",
                "textValue": "T",
                "optinValue": "I",
                "optoutValue": "O",
                "insertOnNoMatch": true,
                "updateOnMatch": "REPLACE_ALL",
                "matchColumnName1": key.column(),
                "matchColumnName2": null,
                "matchOperator": "NONE",
                "rejectRecordIfChannelEmpty": null,
                "defaultPermissionStatus": "OPTOUT",
            },
        });
        self.merge(session, &["members"], &body, rows.records.len()).await
    }

    /// The same for rows of an extension table, whose members must be in the list.
    pub(super) async fn merge_extension(
        &self,
        session: &Session,
        table: &str,
        key: Key,
        rows: &Rows,
    ) -> Result<Vec<Option<String>>, Fault> {
        let path = ["listExtensions", table, "members"];
        self.merge(session, &path, &rows.of_extension(key), rows.records.len()).await
    }

    async fn merge(
        &self,
        session: &Session,
        path: &[&str],
        body: &Json,
        rows: usize,
    ) -> Result<Vec<Option<String>>, Fault> {
        let request = self.request(http::Method::POST, path).json_body(body.to_string().into());
        let merged: Merged = session.send(request).await?.json()?;
        merged.record_data.verdicts(rows)
    }
}

impl Rows {
    /// What is merged into an extension table.
    fn of_extension(&self, key: Key) -> Json {
        json!({
            "recordData": self.data(),
            "insertOnNoMatch": true,
            "updateOnMatch": "REPLACE_ALL",
            "matchColumnName1": key.bare(),
        })
    }

    fn data(&self) -> Json {
        json!({"fieldNames": self.columns, "records": self.records, "mapTemplateName": null})
    }
}

impl RecordData {
    /// Row by row, in the order of the request: the id of the member, or why it was not merged.
    fn verdicts(self, rows: usize) -> Result<Vec<Option<String>>, Fault> {
        if self.records.len() != rows {
            let reason = format!("{} records for {rows}", self.records.len());
            return Err(Fault::Protocol { reason });
        }
        self.records.into_iter().map(verdict).collect()
    }
}

fn verdict(record: Vec<Json>) -> Result<Option<String>, Fault> {
    let text = match record.into_iter().next() {
        Some(Json::String(text)) => text,
        Some(Json::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    let is_id = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_id {
        return Ok(None);
    }
    if text.starts_with("MERGEFAILED") || text.starts_with("MERGE FAILED") {
        return Ok(Some(text));
    }
    let reason = "a record of the reply is neither an id nor a failure".into();
    Err(Fault::Protocol { reason })
}

impl Extension {
    pub(super) fn is(&self, name: &str) -> bool {
        self.profile_extension.object_name.eq_ignore_ascii_case(name)
    }

    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.fields.iter().find(|column| column.field_name.eq_ignore_ascii_case(name))
    }
}

/// Columns are named in capitals, digits and single underscores, beginning with a letter; those of
/// Responsys end in an underscore.
pub(super) fn column_name(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<_> =
        words.filter(|word| !word.is_empty()).map(str::to_ascii_uppercase).collect();
    let name = words.join("_");
    if name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        name
    } else {
        format!("F_{name}")
    }
}

/// The longest name of a column.
pub(super) const LONGEST_NAME: usize = 30;

/// The type of a column for such values.
pub(super) const fn column_type(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Bool => "STR25",
        FieldKind::Integer => "INTEGER",
        FieldKind::Number => "NUMBER",
        FieldKind::Text => "STR500",
        FieldKind::Nested => "STR4000",
        FieldKind::Date | FieldKind::Timestamp => "TIMESTAMP",
    }
}

/// Whether a column of that type can hold such values; a text can hold all.
pub(super) fn fits(kind: FieldKind, found: &str) -> bool {
    let found = found.to_ascii_uppercase();
    match kind {
        _ if found.starts_with("STR") => true,
        FieldKind::Integer => matches!(found.as_str(), "INTEGER" | "NUMBER"),
        FieldKind::Text | FieldKind::Nested | FieldKind::Bool => false,
        FieldKind::Number | FieldKind::Date | FieldKind::Timestamp => found == column_type(kind),
    }
}

fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

impl Refusal {
    fn is_about_token(&self) -> bool {
        let told = self.detail.as_deref().unwrap_or_default().to_ascii_lowercase();
        matches!(self.error_code.as_deref(), Some("TOKEN_EXPIRED" | "INVALID_TOKEN"))
            || told.contains("authentication token")
    }
}

/// Reads a reply by its code: a used-up quota comes with a status that means something else.
fn answered(response: &Response) -> Result<(), Fault> {
    let refusal: Refusal = response.json().unwrap_or_default();
    let reason = || response.reason();
    if refusal.is_about_token() {
        return Err(Fault::Denied { reason: reason() });
    }
    match refusal.error_code.as_deref() {
        None => standard(response),
        Some("API_LIMIT_EXCEEDED") => {
            Err(Fault::Throttled { retry_after: Some(MINUTE), reason: reason() })
        }
        Some(
            "API_BLOCKED"
            | "API_DISABLED_FOR_USER"
            | "ASYNC_API_DISABLED_FOR_USER"
            | "INSUFFICIENT_ACCESS",
        ) => Err(Fault::Denied { reason: reason() }),
        Some("UNABLE_TO_SUBMIT_ASYNC_REQUEST") => Err(Fault::Transient { reason: reason() }),
        Some("LIST_NOT_FOUND" | "OBJECT_NOT_FOUND" | "INVALID_OBJECT" | "INVALID_FIELD_NAME") => {
            Err(Fault::Misconfigured { reason: reason() })
        }
        // A refusal is none the less one for its status.
        Some(_) => match standard(response) {
            Ok(()) => Err(Fault::Rejected { reason: reason() }),
            other => other,
        },
    }
}

/// What is answered when a table was made is not documented but for its form: JSON, or nothing.
fn is_done(response: &Response) -> bool {
    response.body.trim_ascii().is_empty() || response.json::<Json>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Response {
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        Response { status, headers: http::HeaderMap::new(), body }
    }

    fn refused(status: u16, code: &str) -> Response {
        reply(status, &format!(r#"{{"type":"","title":"","errorCode":"{code}","detail":"no"}}"#))
    }

    #[test]
    fn a_refusal_means_what_its_code_says() {
        let word = |response: &Response| match answered(response) {
            Err(Fault::Throttled { retry_after: Some(_), .. }) => "throttled for",
            Err(Fault::Transient { .. }) => "transient",
            Err(Fault::Ambiguous { .. }) => "ambiguous",
            Err(Fault::Rejected { .. }) => "rejected",
            Err(Fault::Denied { .. }) => "denied",
            Err(Fault::Misconfigured { .. }) => "misconfigured",
            other => panic!("{other:?}"),
        };
        for (meaning, status, code) in [
            ("throttled for", 401, "API_LIMIT_EXCEEDED"),
            ("throttled for", 400, "API_LIMIT_EXCEEDED"),
            ("throttled for", 200, "API_LIMIT_EXCEEDED"),
            ("denied", 401, "API_BLOCKED"),
            ("denied", 401, "INSUFFICIENT_ACCESS"),
            ("denied", 401, "TOKEN_EXPIRED"),
            ("transient", 500, "UNABLE_TO_SUBMIT_ASYNC_REQUEST"),
            ("ambiguous", 500, "UNEXPECTED_EXCEPTION"),
            ("misconfigured", 404, "LIST_NOT_FOUND"),
            ("misconfigured", 400, "INVALID_FIELD_NAME"),
            ("rejected", 400, "INVALID_PARAMETER"),
            ("rejected", 400, "RECIPIENT_LIMIT_EXCEEDED"),
            ("rejected", 200, "INVALID_PARAMETER"),
        ] {
            assert_eq!(word(&refused(status, code)), meaning, "{status} {code}");
        }
        let token =
            r#"{"errorCode":"UNEXPECTED_EXCEPTION","detail":"Not a valid authentication token"}"#;
        assert_eq!(word(&reply(500, token)), "denied");
    }

    #[test]
    fn a_record_is_merged_where_its_id_stands() {
        let said = |records: &str| {
            serde_json::from_str::<RecordData>(&format!(r#"{{"records":{records}}}"#))
                .unwrap()
                .verdicts(2)
        };
        let failed = "MERGEFAILED: Record 1 = INVALID EMAIL";
        assert_eq!(
            said(&format!(r#"[["41223"],["{failed}"]]"#)),
            Ok(vec![None, Some(failed.into())])
        );
        assert_eq!(said("[[41223],[7]]"), Ok(vec![None, None]));
        for records in
            [r#"[["1"]]"#, r#"[["1"],[""]]"#, r#"[["1"],[]]"#, r#"[["1"],["x"]]"#, "[[1],[null]]"]
        {
            assert!(matches!(said(records), Err(Fault::Protocol { .. })), "{records}");
        }
    }

    #[test]
    fn columns_are_named_as_responsys_wants_them() {
        assert_eq!(column_name("VIP buyers \u{2013} 2026 (EU)"), "VIP_BUYERS_2026_EU");
        assert_eq!(column_name("ltv_90d"), "LTV_90D");
        assert_eq!(column_name("2026_goal_"), "F_2026_GOAL");
    }
}
