//! By what kind of id a user list tells people apart, and how a member is written by it.

use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::destinations::normalise::{
    e164, google_country, google_email, google_family_name, google_given_name, google_postal_code,
    google_unpunctuated, identifier, plain_advertising_id, sha256,
};
use crate::destinations::{Fault, MatchField};
use crate::message::Message;

/// Every field by which some kind of list matches.
pub(super) const FIELDS: &[MatchField] = &[
    MatchField { source: "email", normalise: google_email },
    MatchField { source: "phone", normalise: e164 },
    MatchField { source: "idfa", normalise: plain_advertising_id },
    MatchField { source: "gaid", normalise: plain_advertising_id },
    MatchField { source: "external_id", normalise: identifier },
];

/// What an address is made of.
pub(super) const PROFILE: &[&str] = &["first_name", "last_name", "country", "zip"];

/// What addresses say of people whose profile does not.
#[derive(Debug)]
pub(super) struct Addresses {
    /// Of people whose profile names none.
    pub country: Option<String>,
}

/// The kind of a list; it never changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Key {
    #[default]
    Contact,
    Ios,
    Android,
    UserId,
}

impl Key {
    pub(super) fn fields(self) -> &'static [MatchField] {
        match self {
            Self::Contact => &FIELDS[..2],
            Self::Ios => &FIELDS[2..3],
            Self::Android => &FIELDS[3..4],
            Self::UserId => &FIELDS[4..],
        }
    }

    pub(super) const fn upload_type(self) -> &'static str {
        match self {
            Self::Contact => "CONTACT_ID",
            Self::Ios | Self::Android => "MOBILE_ID",
            Self::UserId => "USER_ID",
        }
    }

    /// What a new list of this kind is.
    pub(super) fn list_info(self, app_id: Option<&str>) -> Result<Json, Fault> {
        let types = json!([self.upload_type()]);
        let source = "DATA_SOURCE_TYPE_FIRST_PARTY";
        let space = match self {
            Self::Contact => {
                let info = json!({ "dataSourceType": source });
                return Ok(json!({"uploadKeyTypes": types, "contactIdInfo": info}));
            }
            Self::UserId => {
                let info = json!({ "dataSourceType": source });
                return Ok(json!({"uploadKeyTypes": types, "userIdInfo": info}));
            }
            Self::Ios => "IOS",
            Self::Android => "ANDROID",
        };
        let app = app_id.ok_or_else(|| Fault::Misconfigured {
            reason: "a list of device ids is created for one app: write its id as `app_id`".into(),
        })?;
        let info = json!({"dataSourceType": source, "keySpace": space, "appId": app});
        Ok(json!({"uploadKeyTypes": types, "mobileIdInfo": info}))
    }

    /// One member, by all identifiers of this kind that the message carries.
    pub(super) fn member(self, message: &Message, addresses: Option<&Addresses>) -> Json {
        let values =
            self.fields().iter().filter_map(|field| Some((field.source, field.of(message)?)));
        match self {
            Self::Contact => {
                let mut identifiers: Vec<Json> = values
                    .map(|(source, value)| match source {
                        "email" => json!({"emailAddress": sha256(value)}),
                        _ => json!({"phoneNumber": sha256(value)}),
                    })
                    .collect();
                identifiers.extend(addresses.iter().flat_map(|addresses| addresses.of(message)));
                json!({"userData": {"userIdentifiers": identifiers}})
            }
            Self::Ios | Self::Android => {
                let ids: Vec<&str> = values.map(|(_, value)| value).collect();
                json!({"mobileData": {"mobileIds": ids}})
            }
            Self::UserId => {
                let id = values.map(|(_, value)| value).next().unwrap_or_default();
                json!({"userIdData": {"userId": id}})
            }
        }
    }
}

impl Addresses {
    /// An address matches as a whole: nothing, unless every part of it is known.
    ///
    /// Google's libraries hash `o'neil`, its reference of the API wants no punctuation, and it never says
    /// which one it found: a name that has some is sent both ways.
    fn of(&self, message: &Message) -> Vec<Json> {
        let said: Vec<(&str, String)> =
            message.profile().map(|(name, value)| (name, value.to_string())).collect();
        let Some(Address { names, region, postal }) = self.read(&said) else { return Vec::new() };
        let plain = names.each_ref().map(|name| google_unpunctuated(name));
        let is_other = plain != names && plain.iter().all(|name| !name.is_empty());
        let written = |[given, family]: [String; 2]| {
            json!({"address": {
                "givenName": sha256(&given),
                "familyName": sha256(&family),
                "regionCode": region,
                "postalCode": postal,
            }})
        };
        [Some(names), is_other.then_some(plain)].into_iter().flatten().map(written).collect()
    }

    fn read(&self, said: &[(&str, String)]) -> Option<Address> {
        let of = |name: &str| {
            let found = said.iter().find(|(other, text)| *other == name && !text.trim().is_empty());
            found.map(|(_, text)| text.as_str())
        };
        let country = of("country").or(self.country.as_deref())?;
        let given = google_given_name(of("first_name")?, None).ok()?;
        let family = google_family_name(of("last_name")?, None).ok()?;
        let region = google_country(country, None).ok()?;
        let postal = google_postal_code(of("zip")?, None).ok()?;
        Some(Address { names: [given, family], region, postal })
    }
}

/// Given and family name, and where.
struct Address {
    names: [String; 2],
    region: String,
    postal: String,
}
