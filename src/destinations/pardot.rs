//! Pardot, which Salesforce calls Account Engagement: prospects by their email, one per request.
//!
//! Version 5 of its API has no call for many prospects that says what became of each. Every value
//! travels as text. Tokens are Salesforce's; requests go to Pardot's own host.
//!
//! What it never does: it takes no prospect out of the recycle bin, and touches neither lists nor
//! whether somebody opted out.

mod fields;
mod replies;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use url::Url;

use super::attributes::attributes_beside;
use super::reader::address;
use super::salesforce_api::{
    CLIENT_ID, CLIENT_SECRET, LOGIN_URL, Login, PRIVATE_KEY, REFRESH_TOKEN, USERNAME, Whither,
};
use super::singles::Singles;
use super::{
    Batch, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS, Idempotency,
    Maturity, OptionDoc, Outcome, Quota, Reader, Remote, Secret, Spec, Target,
};
use crate::delivery::{Grant, Request, Session};
use crate::finding::Finding;
use crate::message::Message;
use crate::record::{Call, Value};
use fields::Naming;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Pardot.
pub static SPEC: Spec = Spec {
    kind: "pardot",
    title: "Pardot",
    summary: "Keeps custom fields of Pardot's (Account Engagement's) prospects.",
    calls: &[Call::Identify],
    grain: Grain::Email,
    identifiers: "email; where several prospects have it, the one that was updated last",
    profile: PROFILE,
    quotas: &[Quota::per_second(2)],
    // Of the smallest edition.
    daily: Some(25_000),
    // The most that a business unit takes at the same time, from all programs together.
    concurrency: 5,
    idempotency: Idempotency::Natural,
    maturity: Maturity::Alpha,
    example: r#"[destinations.pardot]
type = "pardot"
login_url = "https://acme.my.salesforce.com"
client_id = "muster-app"
client_secret = "${SALESFORCE_CLIENT_SECRET}"
business_unit_id = "0Uv000000000000CAA"
"#,
    notes: &[
        "Pardot allows 25,000 (Growth), 50,000 (Plus) or 100,000 (Advanced, Premium) requests per day, and every prospect takes one: the smallest allowance holds here, counted across runs; say yours with `daily_limit`.",
        "More than five requests at the same time, from all programs together, are slowed down.",
        "A column `ltv_90d` is written to the custom field `ltv_90d__c` (the suffix is that of version 5); standard fields must be listed in `standard_fields`, and their types are not checked.",
        "Custom fields that are missing are created when a sync begins, which takes the ability to configure fields, unless `create_fields = false`.",
        "All values travel as text, booleans as `true` and `false`; times go into text fields, whether a number field takes decimals is uncertain.",
        "NULL is sent as `null` (that it clears a field is uncertain).",
        "An email that nobody has becomes a new prospect; a deleted one is not restored but created anew.",
        "The connected app needs the scope `pardot_api`, and the user must be known to the business unit.",
        "Events (external activities) and accounts, which a Salesforce connector makes read-only, are not supported.",
        "The import of files and the batches of version 4 are not used.",
    ],
    ..Spec::EVENT
};

const OPTIONS: &[OptionDoc] = &[
    LOGIN_URL,
    CLIENT_ID,
    CLIENT_SECRET,
    REFRESH_TOKEN,
    PRIVATE_KEY,
    USERNAME,
    OptionDoc::required("business_unit_id", "id of the business unit: `0Uv` and 15 characters"),
    OptionDoc::optional("sandbox", "true: a demo or sandbox unit; default false"),
    OptionDoc::optional(
        "standard_fields",
        "names of columns that are standard fields, such as [\"jobTitle\"], and get no `__c`",
    ),
    OptionDoc::optional(
        "create_fields",
        "whether custom fields that are missing are created; default true",
    ),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    #[serde(default, deserialize_with = "address")]
    login_url: Option<Url>,
    client_id: String,
    client_secret: Option<Secret>,
    refresh_token: Option<Secret>,
    private_key: Option<Secret>,
    username: Option<String>,
    business_unit_id: String,
    #[serde(default)]
    sandbox: bool,
    #[serde(default)]
    standard_fields: BTreeSet<String>,
    #[serde(default = "crate::destinations::options::yes")]
    create_fields: bool,
}

/// Profile columns that have a field of their own, and that field's name.
const PROFILE: &[&str] = &["first_name", "last_name", "company"];
const PROFILE_FIELDS: &[&str] = &["firstName", "lastName", "company"];

#[derive(Debug)]
struct Pardot {
    unit: Unit,
    naming: Naming,
    create_fields: bool,
}

/// One business unit and how its API is asked.
#[derive(Debug)]
struct Unit {
    base: Url,
    id: String,
    grant: Arc<dyn Grant>,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    let refuse = |option: &str, fact: &str| vec![reader.refuse(option, fact)];
    let id = options.business_unit_id;
    let is_id = id.starts_with("0Uv") && id.len() == 18;
    if !is_id || !id.chars().all(|letter| letter.is_ascii_alphanumeric()) {
        let fact = "is no id of a business unit, which begins with `0Uv` and has 18 characters";
        return Err(refuse("business_unit_id", fact));
    }
    let (host, login) = match options.sandbox {
        true => ("https://pi.demo.pardot.com", "https://test.salesforce.com"),
        false => ("https://pi.pardot.com", "https://login.salesforce.com"),
    };
    let login = Login {
        login_url: options.login_url.or_else(|| Url::parse(login).ok()),
        client_id: options.client_id,
        client_secret: options.client_secret,
        refresh_token: options.refresh_token,
        private_key: options.private_key,
        username: options.username,
        base_url: common.base_url.clone(),
    };
    let secrets = login.secrets();
    let grant = login
        .grant(Whither::AsAddressed, replies::is_expired)
        .map_err(|(option, fact)| refuse(option, &fact))?;
    let base = match &common.base_url {
        Some(base) => base.clone(),
        None => Url::parse(host)
            .map_err(|error| refuse("sandbox", &format!("has no usable address: {error}")))?,
    };
    let pardot = Pardot {
        unit: Unit { base, id, grant },
        naming: Naming { standard: options.standard_fields },
        create_fields: options.create_fields,
    };
    Ok(Built::new(Arc::new(pardot), secrets))
}

impl Unit {
    fn request(&self, method: Method, path: &[&str]) -> Request {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v5"]).extend(path);
        }
        Request::new(method, url)
            .header("accept", "application/json")
            .header("pardot-business-unit-id", &self.id)
            .granted(&self.grant)
            .reading(replies::answered)
    }

    fn get(&self, path: &[&str]) -> Request {
        self.request(Method::GET, path)
    }

    /// A request that carries a body.
    fn post(&self, path: &[&str], body: &impl Serialize) -> Result<Request, Fault> {
        let body = serde_json::to_vec(body).map_err(|error| Fault::Rejected {
            reason: format!("a value cannot be encoded: {error}"),
        })?;
        Ok(self.request(Method::POST, path).json_body(body.into()))
    }
}

/// What an upsert says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Upsert<'a> {
    match_email: &'a str,
    prospect: Prospect<'a>,
    /// Whether one in the recycle bin counts.
    secondary_deleted_search: bool,
    fields: [&'static str; 2],
}

struct Prospect<'a> {
    email: &'a str,
    naming: &'a Naming,
    message: &'a Message,
}

impl Serialize for Prospect<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { email, naming, message } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("email", email)?;
        for (column, field) in PROFILE.iter().zip(PROFILE_FIELDS) {
            if let Some((_, value)) = message.profile().find(|(name, _)| name == column) {
                map.serialize_entry(field, &text(&value))?;
            }
        }
        for (name, value) in attributes_beside(message, PROFILE) {
            map.serialize_entry(&naming.name(name), &text(&value))?;
        }
        map.end()
    }
}

/// A value as text; `None` where there is none.
fn text(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Float(number) if !number.is_finite() => None,
        other => Some(other.to_string()),
    }
}

impl Pardot {
    async fn identify(&self, session: &Session, message: &Message) -> Result<Outcome, Fault> {
        let Some(email) = message.email() else {
            return Ok(Outcome::Rejected { reason: "it has no email".into() });
        };
        let upsert = Upsert {
            match_email: email,
            prospect: Prospect { email, naming: &self.naming, message },
            secondary_deleted_search: false,
            fields: ["id", "email"],
        };
        let path = ["objects", "prospects", "do", "upsertLatestByEmail"];
        let response = session.send(self.unit.post(&path, &upsert)?).await?;
        replies::upserted(&response, email)
    }
}

#[async_trait]
impl Destination for Pardot {
    /// Asks for the id of one prospect.
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(rename = "values")]
            _values: Vec<serde_json::Value>,
        }
        let mut request = self.unit.get(&["objects", "prospects"]);
        request.url.query_pairs_mut().append_pair("fields", "id").append_pair("limit", "1");
        session.send(request).await?.json::<Page>().map(|_| ())
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        let Self { unit, naming, create_fields } = self;
        fields::ensure(unit, session, naming, &target.fields, *create_fields).await?;
        Ok(Remote::default())
    }

    /// Names that differ in nothing but their case are one field.
    fn field_name(&self, name: &str) -> String {
        self.naming.name(name).to_lowercase()
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        let names = target.fields.iter().map(|field| field.name.as_str());
        names.filter_map(|name| self.naming.objection(name)).collect()
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let mut singles = Singles::of(batch);
        for (position, message) in batch.messages().iter().enumerate() {
            let answer = self.identify(session, message).await;
            if singles.settle(position, answer)?.is_break() {
                break;
            }
        }
        Ok(singles.into_receipt().into())
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::server;
