//! Iterable's REST API as every destination of Iterable speaks to it: address, key, and what the
//! replies to its bulk calls say of single rows.
//!
//! What it promises: a reply names rows by the values that identify them, in lists of its own, and
//! each of these is found again among the rows that were sent; a name that belongs to none of them
//! means that the reply is not one to this request. What fails without being named is never success.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use url::Url;

use super::{Fault, OptionDoc, Secret};
use crate::delivery::{Request, Response, standard};

pub(super) const API_KEY: OptionDoc =
    OptionDoc::required("api_key", "server-side API key of the project, without JWT");
pub(super) const REGION: OptionDoc =
    OptionDoc::optional("region", "where the project is hosted: \"us\" (default) or \"eu\"");

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Region {
    #[default]
    Us,
    Eu,
}

/// By what a person is known to the project.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Key {
    #[default]
    Email,
    UserId,
}

/// One project.
#[derive(Debug)]
pub(super) struct Project {
    base: Url,
    key: Secret,
}

/// By what a reply can name one row of its request.
#[derive(Debug, Default)]
pub(super) struct Row<'a> {
    pub email: Option<&'a str>,
    pub user_id: Option<&'a str>,
    pub event: Option<&'a str>,
    /// Names of its data fields.
    pub fields: Vec<&'a str>,
}

/// One complaint of a reply, and the rows that it is about.
#[derive(Debug)]
pub(super) struct Refusal {
    pub rows: Vec<usize>,
    pub reason: String,
    /// That they are not there, or not any more.
    pub is_absence: bool,
}

/// What a reply says of the rows of its request.
#[derive(Debug)]
pub(super) struct Reading {
    pub refusals: Vec<Refusal>,
    /// Rows that are neither counted as taken nor as failed.
    pub unaccounted: u64,
}

/// What Iterable answers to a bulk call.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    success_count: u64,
    fail_count: u64,
    /// Values that identify rows, by what is wrong with them.
    #[serde(default, deserialize_with = "lists")]
    failed_updates: BTreeMap<String, Vec<String>>,
    // Older forms of the same.
    #[serde(default)]
    invalid_emails: Vec<String>,
    #[serde(default)]
    invalid_user_ids: Vec<String>,
    #[serde(default)]
    disallowed_event_names: Vec<String>,
    #[serde(default)]
    filtered_out_fields: Names,
}

/// Names as a list, or, as seen in other people's recordings, as the keys of an object.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Names {
    List(Vec<String>),
    Keys(BTreeMap<String, serde::de::IgnoredAny>),
}

/// What Iterable says of a request that it refuses as a whole.
#[derive(Debug, Deserialize)]
struct Complaint {
    code: String,
}

impl Region {
    const fn address(self) -> &'static str {
        match self {
            Self::Us => "https://api.iterable.com",
            Self::Eu => "https://api.eu.iterable.com",
        }
    }
}

impl Project {
    /// `base` stands for the address of the region.
    pub(super) fn new(base: Option<&Url>, region: Region, key: Secret) -> Result<Self, String> {
        let base = match base {
            Some(base) => base.clone(),
            None => Url::parse(region.address())
                .map_err(|error| format!("has no usable address: {error}"))?,
        };
        Ok(Self { base, key })
    }

    pub(super) fn get(&self, path: &str) -> Request {
        self.worded(Request::get(self.address(path)))
    }

    pub(super) fn post(&self, path: &str, body: bytes::Bytes) -> Request {
        self.worded(Request::post(self.address(path))).json_body(body)
    }

    fn address(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let prefix = self.base.path().trim_end_matches('/');
        url.set_path(&format!("{}{path}", prefix.strip_suffix("/api").unwrap_or(prefix)));
        url
    }

    fn worded(&self, request: Request) -> Request {
        request.secret_header("api-key", &self.key).reading(answered)
    }
}

/// What a status means here: only 200 is success, and a 400 may be about key or rate.
pub(super) fn answered(response: &Response) -> Result<(), Fault> {
    match standard(response) {
        Ok(()) if response.status != 200 => Err(Fault::Protocol { reason: response.reason() }),
        Err(Fault::Rejected { reason }) => {
            let code = response.json::<Complaint>().map(|complaint| complaint.code);
            Err(match code.unwrap_or_default().as_str() {
                "BadApiKey" | "BadAuthorizationHeader" => Fault::Denied { reason },
                "RateLimitExceeded" => {
                    Fault::Throttled { retry_after: response.retry_after(), reason }
                }
                _ => Fault::Rejected { reason },
            })
        }
        other => other,
    }
}

/// Reads the answer to a bulk call of these rows.
pub(super) fn read(response: &Response, rows: &[Row<'_>]) -> Result<Reading, Fault> {
    let reply: Reply = response.json()?;
    let (taken, failed) = (reply.success_count, reply.fail_count);
    let counted = taken.saturating_add(failed);
    if counted == 0 || counted > rows.len() as u64 {
        let reason = format!("Iterable counts {counted} rows where {} were sent", rows.len());
        return Err(Fault::Protocol { reason });
    }
    let mut refusals = Vec::new();
    for (list, names) in reply.lists() {
        for name in names {
            refusals.push(refusal(&list, &name, rows)?);
        }
    }
    let named = distinct(&refusals);
    if failed > named {
        // Halving the batch finds out which ones.
        let unnamed = failed - named;
        let reason = format!("Iterable failed {unnamed} of its rows and does not say which");
        return Err(Fault::Rejected { reason });
    }
    refusals.extend(reply.filtered_out_fields.into_iter().filter_map(|name| dropped(&name, rows)));
    let known = counted.max(taken.saturating_add(named));
    Ok(Reading { refusals, unaccounted: (rows.len() as u64).saturating_sub(known) })
}

impl Reply {
    /// Every list that names rows, each name once.
    fn lists(&self) -> BTreeMap<String, Vec<String>> {
        let mut lists = self.failed_updates.clone();
        let older = [
            ("invalidEmails", &self.invalid_emails),
            ("invalidUserIds", &self.invalid_user_ids),
            ("disallowedEventNames", &self.disallowed_event_names),
        ];
        for (list, names) in older {
            let new = |name: &&String| !lists.values().any(|listed| listed.contains(name));
            let names: Vec<String> = names.iter().filter(new).cloned().collect();
            lists.entry(list.to_owned()).or_default().extend(names);
        }
        lists
    }
}

fn refusal(list: &str, name: &str, rows: &[Row<'_>]) -> Result<Refusal, Fault> {
    let is_named = |row: &Row<'_>| match list {
        "disallowedEventNames" => row.event == Some(name),
        list if list.ends_with("Emails") => {
            row.email.is_some_and(|email| email.to_lowercase() == name.to_lowercase())
        }
        list if list.ends_with("UserIds") => row.user_id == Some(name),
        _ => false,
    };
    let rows = positions(rows, is_named);
    if rows.is_empty() {
        let reason = format!("Iterable names a row in `{list}` that was not sent");
        return Err(Fault::Protocol { reason });
    }
    let is_absence = list.starts_with("notFound") || list.starts_with("forgotten");
    Ok(Refusal { rows, reason: meaning(list), is_absence })
}

/// A field that Iterable left out, and the rows that held it; nested ones are named by their path.
fn dropped(name: &str, rows: &[Row<'_>]) -> Option<Refusal> {
    let path = name.strip_prefix("dataFields.").unwrap_or(name);
    let holds = |row: &Row<'_>| {
        row.fields.iter().any(|field| {
            path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    let rows = positions(rows, holds);
    let reason = format!(
        "Iterable leaves out the field `{path}`, which the project does not know: create it there"
    );
    (!rows.is_empty()).then_some(Refusal { rows, reason, is_absence: false })
}

fn positions(rows: &[Row<'_>], is_meant: impl Fn(&Row<'_>) -> bool) -> Vec<usize> {
    let all = rows.iter().enumerate();
    all.filter(|(_, row)| is_meant(row)).map(|(position, _)| position).collect()
}

fn distinct(refusals: &[Refusal]) -> u64 {
    let mut rows: Vec<usize> =
        refusals.iter().flat_map(|refusal| refusal.rows.iter().copied()).collect();
    rows.sort_unstable();
    rows.dedup();
    rows.len() as u64
}

/// What it means to be named in a list, in words.
fn meaning(list: &str) -> String {
    let words = match list {
        "invalidEmails" => "Iterable does not take this as an email address",
        "invalidUserIds" => "Iterable does not take this as a user id",
        "invalidDataEmails" | "invalidDataUserIds" => {
            "Iterable refuses the values, such as one of another type than the field has"
        }
        "notFoundEmails" | "notFoundUserIds" => "Iterable does not know this person",
        "conflictEmails" | "conflictUserIds" => "another person of the project has this identity",
        "forgottenEmails" | "forgottenUserIds" => {
            "the project has forgotten this person for good (GDPR)"
        }
        "disallowedEventNames" => "the project takes no events of this name",
        _ => "Iterable could not use it",
    };
    format!("{words} (`{list}`)")
}

fn lists<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    let given = BTreeMap::<String, Option<Vec<String>>>::deserialize(deserializer)?;
    Ok(given.into_iter().map(|(list, names)| (list, names.unwrap_or_default())).collect())
}

impl Default for Names {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl IntoIterator for Names {
    type Item = String;
    type IntoIter = std::vec::IntoIter<String>;

    fn into_iter(self) -> Self::IntoIter {
        match self {
            Self::List(names) => names.into_iter(),
            Self::Keys(names) => names.into_keys().collect::<Vec<_>>().into_iter(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    const ROWS: [Row<'static>; 3] = [
        Row { email: Some("ada@x.org"), user_id: None, event: None, fields: Vec::new() },
        Row { email: Some("Bob@x.org"), user_id: Some("u2"), event: None, fields: Vec::new() },
        Row { email: None, user_id: Some("u3"), event: Some("Bought"), fields: Vec::new() },
    ];

    fn reply(body: &Json) -> Response {
        let headers = http::HeaderMap::new();
        Response { status: 200, headers, body: body.to_string().into() }
    }

    fn read_of(body: &Json) -> Result<Vec<Vec<usize>>, Fault> {
        let reading = read(&reply(body), &ROWS)?;
        Ok(reading.refusals.into_iter().map(|refusal| refusal.rows).collect())
    }

    #[test]
    fn addresses_hang_below_any_base() {
        for base in ["http://127.0.0.1:9/proxy", "http://127.0.0.1:9/proxy/api/"] {
            let base = Url::parse(base).unwrap();
            let project = Project::new(Some(&base), Region::Eu, Secret::new("k")).unwrap();
            let url = project.get("/api/lists").url;
            assert_eq!(url.as_str(), "http://127.0.0.1:9/proxy/api/lists");
        }
    }

    #[test]
    fn every_list_names_rows_by_its_own_kind_of_value() {
        for (list, name, row) in [
            ("invalidEmails", "ADA@x.org", 0),
            ("conflictEmails", "bob@X.org", 1),
            ("notFoundUserIds", "u2", 1),
            ("forgottenUserIds", "u3", 2),
            ("newlyInventedUserIds", "u3", 2),
            ("disallowedEventNames", "Bought", 2),
        ] {
            let body = json!({"successCount": 2, "failCount": 1, "failedUpdates": {list: [name]}});
            assert_eq!(read_of(&body), Ok(vec![vec![row]]), "{list}");
        }
    }

    #[test]
    fn a_name_that_was_not_sent_is_not_believed() {
        for (list, name) in [
            ("invalidEmails", "eve@x.org"),
            ("notFoundUserIds", "U2"),
            ("disallowedEventNames", "bought"),
            ("somethingElse", "u2"),
        ] {
            let body = json!({"successCount": 2, "failCount": 1, "failedUpdates": {list: [name]}});
            assert!(matches!(read_of(&body), Err(Fault::Protocol { .. })), "{list}");
        }
    }

    #[test]
    fn older_lists_say_the_same_once() {
        let body = json!({"successCount": 2, "failCount": 1, "invalidEmails": ["ada@x.org"],
            "failedUpdates": {"invalidEmails": ["ada@x.org"], "notFoundEmails": null}});
        assert_eq!(read_of(&body), Ok(vec![vec![0]]));
        let body = json!({"successCount": 2, "failCount": 1, "disallowedEventNames": ["Bought"]});
        assert_eq!(read_of(&body), Ok(vec![vec![2]]));
    }

    #[test]
    fn counts_must_fit_what_was_sent() {
        let unaccounted = |taken, failed| {
            let body = json!({"successCount": taken, "failCount": failed});
            read(&reply(&body), &ROWS).map(|reading| reading.unaccounted)
        };
        assert_eq!(unaccounted(3, 0), Ok(0));
        assert_eq!(unaccounted(2, 0), Ok(1));
        // Whoever is named without being counted is accounted for.
        let body = json!({"successCount": 2, "failCount": 0, "disallowedEventNames": ["Bought"]});
        assert_eq!(read(&reply(&body), &ROWS).unwrap().unaccounted, 0);
        assert!(matches!(unaccounted(0, 0), Err(Fault::Protocol { .. })));
        assert!(matches!(unaccounted(4, 0), Err(Fault::Protocol { .. })));
        assert!(matches!(unaccounted(2, 1), Err(Fault::Rejected { .. })));
    }

    #[test]
    fn fields_that_are_left_out_are_found_in_the_rows_that_hold_them() {
        let row = |fields: &[&'static str]| Row { fields: fields.to_vec(), ..Row::default() };
        let rows = [row(&["ltv"]), row(&["ltv_90d", "city"]), row(&["address"])];
        for (names, expected) in [
            (json!(["ltv"]), vec![vec![0]]),
            (json!(["dataFields.city", "address.zip"]), vec![vec![1], vec![2]]),
            (json!({"ltv_90d": {}}), vec![vec![1]]),
            (json!(["unheard"]), vec![]),
        ] {
            let body = json!({"successCount": 3, "failCount": 0, "filteredOutFields": names});
            let reading = read(&reply(&body), &rows).unwrap();
            let found: Vec<_> = reading.refusals.into_iter().map(|refusal| refusal.rows).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_code_says_more_than_its_status() {
        let fault = |status, code: &str| {
            let body = json!({"code": code, "msg": "", "params": {}});
            answered(&Response { status, ..reply(&body) })
        };
        assert!(matches!(fault(400, "BadApiKey"), Err(Fault::Denied { .. })));
        assert!(matches!(fault(400, "RateLimitExceeded"), Err(Fault::Throttled { .. })));
        assert!(matches!(fault(400, "BatchTooLarge"), Err(Fault::Rejected { .. })));
        assert!(matches!(fault(202, "Success"), Err(Fault::Protocol { .. })));
        assert_eq!(fault(200, "Success"), Ok(()));
    }
}
