//! Floodlight activities of Campaign Manager 360: whoever enters an audience is told as a conversion,
//! and a remarketing list on the activity makes the audience there.
//!
//! Nothing can be taken back: a conversion that happened has happened. Who leaves is therefore told by
//! another activity, where the project names one, and not at all where it does not.

mod conversion;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use serde::Deserialize;

use super::address::below;
use super::google_api::{
    Access, CLIENT_ID, CLIENT_SECRET, Credentials, PRIVATE_KEY, REFRESH_TOKEN, SERVICE_ACCOUNT,
    answered,
};
use super::portions::{Portion, Portions, Room, Verdict};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Idempotency, Maturity, OptionDoc, Outcome, Quota, Reader, Remote, Secret, Spec,
};
use crate::delivery::{Request, Response, Session};
use crate::finding::Finding;
use crate::record::Call;
use conversion::{Agreement, Conversion, Identity};
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Floodlight.
pub static SPEC: Spec = Spec {
    kind: "floodlight",
    title: "DoubleClick Floodlight",
    summary: "Inserts a Floodlight conversion in Campaign Manager 360 for whoever enters an audience.",
    calls: &[Call::Track],
    grain: Grain::Subject,
    identifiers: "a device id, a click id, or a match id (the user id)",
    quotas: &[Quota::per_second(1)],
    daily: Some(50_000),
    batch: BatchLimits { rows: ROWS, max_rows: ROWS, bytes: 20_000_000, row_bytes: BYTES },
    concurrency: 1,
    idempotency: Idempotency::MessageId,
    maturity: Maturity::Beta,
    example: r#"[destinations.floodlight]
type = "floodlight"
profile_id = "1234567"
configuration_id = "7654321"
activity_id = "1111111"
exit_activity_id = "2222222"
identify_by = "mobile_device_id"
ad_user_data = "granted"
client_id = "1234.apps.googleusercontent.com"
client_secret = "${GOOGLE_CLIENT_SECRET}"
refresh_token = "${GOOGLE_REFRESH_TOKEN}"
"#,
    notes: &[
        "Floodlight has no members: make a remarketing list on the activity, with a rule on the variable that holds the audience's key.",
        "Nobody can be taken off: who leaves is told as `exit_activity_id`, for a list that excludes them; without it nothing is sent for them, and they stay until the list forgets them.",
        "Activities are made in Campaign Manager 360, not from here.",
        "With `identify_by = \"mobile_device_id\"`, `gclid` or `dclid` a person without that profile column is invalid and counted; `match_id` is the user id, unhashed.",
        "Values must not name a person, and one with a quote, `<`, `>` or `#` is rejected before it is sent.",
        "`ad_user_data` says what people agreed to and has no default.",
        "A conversion has the message's id as `ordinal`, so that a repeated one is counted once.",
        "Conversions of the last 28 days are accepted.",
        "The limits of one request a second and 50,000 a day are uncertain.",
        "`--test` reads the user profile, which needs one of the scopes of the reporting API beside `ddmconversions` (uncertain which).",
        "Remarketing lists need at least 100 people on most networks (uncertain).",
    ],
    ..Spec::EVENT
};

const ROWS: usize = 1_000;
const BYTES: usize = 20_000;

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::required("profile_id", "number of the user profile in Campaign Manager 360"),
    OptionDoc::required("configuration_id", "number of the Floodlight configuration"),
    OptionDoc::required("activity_id", "number of the activity that tells who enters"),
    OptionDoc::optional("exit_activity_id", "number of the activity that tells who leaves"),
    OptionDoc::required(
        "identify_by",
        "\"mobile_device_id\", \"gclid\" or \"dclid\" (profile columns of these names), or \"match_id\" (the user id)",
    ),
    OptionDoc::required(
        "ad_user_data",
        "what people agreed to: \"granted\", \"denied\" or \"unspecified\"",
    ),
    OptionDoc::optional(
        "variables",
        "custom variables and the properties they hold; default { u1 = \"audience_key\" }",
    ),
    OptionDoc::optional("non_personalized", "true: not to be used for personalised ads"),
    OptionDoc::optional("child_directed", "true: about people treated as children"),
    OptionDoc::optional("underage", "true: about people under the age of consent"),
    OptionDoc::optional("limit_ad_tracking", "true: people have limited ad tracking"),
    OptionDoc::optional("api_version", "version of the API; default \"v5\""),
    CLIENT_ID,
    CLIENT_SECRET,
    REFRESH_TOKEN,
    SERVICE_ACCOUNT,
    PRIVATE_KEY,
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    profile_id: String,
    configuration_id: String,
    activity_id: String,
    exit_activity_id: Option<String>,
    identify_by: Identity,
    ad_user_data: Agreement,
    variables: Option<BTreeMap<String, String>>,
    non_personalized: Option<bool>,
    child_directed: Option<bool>,
    underage: Option<bool>,
    limit_ad_tracking: Option<bool>,
    api_version: Option<String>,
    client_id: Option<String>,
    client_secret: Option<Secret>,
    refresh_token: Option<Secret>,
    service_account: Option<String>,
    private_key: Option<Secret>,
}

/// The activities of one advertiser.
#[derive(Debug)]
struct Floodlight {
    access: Access,
    version: String,
    profile: String,
    conversion: Conversion,
    room: Room,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    let numbers = [
        ("profile_id", Some(&options.profile_id)),
        ("configuration_id", Some(&options.configuration_id)),
        ("activity_id", Some(&options.activity_id)),
        ("exit_activity_id", options.exit_activity_id.as_ref()),
    ];
    let is_number =
        |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let odd = numbers.iter().filter(|(_, text)| text.is_some_and(|text| !is_number(text)));
    let odd: Vec<_> = odd.map(|(name, _)| reader.refuse(name, "is not a number")).collect();
    if !odd.is_empty() {
        return Err(odd);
    }
    let variables = options
        .variables
        .unwrap_or_else(|| BTreeMap::from([("u1".to_owned(), "audience_key".to_owned())]));
    let variables =
        conversion::variables(variables).map_err(|fact| vec![reader.refuse("variables", &fact)])?;
    let credentials = Credentials {
        client_id: options.client_id,
        client_secret: options.client_secret,
        refresh_token: options.refresh_token,
        service_account: options.service_account,
        private_key: options.private_key,
    };
    let scope = "https://www.googleapis.com/auth/ddmconversions";
    let access =
        credentials.access(reader, common, ("https://dfareporting.googleapis.com", scope))?;
    let secrets = access.secrets.clone();
    let required = options.identify_by.required();
    let conversion = Conversion {
        configuration: options.configuration_id,
        activity: options.activity_id,
        exit_activity: options.exit_activity_id,
        identity: options.identify_by,
        ad_user_data: options.ad_user_data,
        variables,
        flags: [
            ("nonPersonalizedAd", options.non_personalized),
            ("childDirectedTreatment", options.child_directed),
            ("treatmentForUnderage", options.underage),
            ("limitAdTracking", options.limit_ad_tracking),
        ],
    };
    let pieces = common.batch_size.unwrap_or(ROWS);
    let room = Room { pieces, bytes: 20_000_000, piece_bytes: BYTES };
    let version = options.api_version.unwrap_or_else(|| "v5".to_owned());
    let floodlight = Floodlight { access, version, profile: options.profile_id, conversion, room };
    Ok(Built::new(Arc::new(floodlight), secrets).requiring(required))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inserted {
    has_failures: bool,
    #[serde(default)]
    status: Vec<Status>,
}

#[derive(Debug, Deserialize)]
struct Status {
    #[serde(default)]
    errors: Vec<Complaint>,
}

#[derive(Debug, Deserialize)]
struct Complaint {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

#[async_trait]
impl Destination for Floodlight {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Profile {
            #[serde(rename = "profileId")]
            _id: String,
        }
        let request = self.request(Method::GET, &[]);
        session.send(request).await?.json::<Profile>().map(|_| ())
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let mut portions =
            Portions::of(batch, self.room, |message| self.conversion.written(message));
        while let Some(portion) = portions.next() {
            let more = ",\"kind\":\"dfareporting#conversionsBatchInsertRequest\"";
            let request = self
                .request(Method::POST, &["conversions", "batchinsert"])
                .json_body(portion.body("conversions", more));
            let answer = match session.send(request).await {
                Ok(response) => inserted(&response, &portion),
                Err(fault) => Err(fault),
            };
            portions.settle(&portion, answer)?;
        }
        Ok(portions.into_receipt(batch).into())
    }
}

impl Floodlight {
    fn request(&self, method: Method, more: &[&str]) -> Request {
        let path = ["dfareporting", &self.version, "userprofiles", &self.profile];
        let url = below(&self.access.base, &[&path, more].concat());
        Request::new(method, url).granted(&self.access.grant).reading(answered)
    }
}

/// One status per conversion, in their order.
fn inserted(response: &Response, portion: &Portion) -> Result<Vec<Verdict>, Fault> {
    let Inserted { has_failures, status } = response.json()?;
    if status.len() != portion.len() && (has_failures || !status.is_empty()) {
        let (had, sent) = (status.len(), portion.len());
        let reason =
            format!("the reply says of {had} conversions what became of them, not of {sent}");
        return Err(Fault::Protocol { reason });
    }
    let failed = status.into_iter().enumerate().filter(|(_, status)| !status.errors.is_empty());
    let verdicts: Vec<Verdict> =
        failed.map(|(piece, status)| Verdict { piece, outcome: status.outcome() }).collect();
    if has_failures && verdicts.is_empty() {
        let reason = "the reply speaks of failures and names none".to_owned();
        return Err(Fault::Protocol { reason });
    }
    Ok(verdicts)
}

impl Status {
    fn outcome(self) -> Outcome {
        let reasons: Vec<String> =
            self.errors.iter().map(|error| format!("{}: {}", error.code, error.message)).collect();
        let reason = reasons.join("; ");
        if self.errors.iter().all(|error| error.code == "INTERNAL") {
            return Outcome::Retry { after: None, reason };
        }
        Outcome::Rejected { reason }
    }
}
