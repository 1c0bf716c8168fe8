//! How one conversion is written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::destinations::attributes::written;
use crate::destinations::normalise;
use crate::message::{Event, Message};

/// What all conversions have in common.
#[derive(Debug)]
pub(super) struct Conversion {
    pub configuration: String,
    pub activity: String,
    pub exit_activity: Option<String>,
    pub identity: Identity,
    pub ad_user_data: Agreement,
    /// `U1` and the property that it holds.
    pub variables: Vec<(String, String)>,
    pub flags: [(&'static str, Option<bool>); 4],
}

/// What a conversion names a person by: exactly one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Identity {
    MobileDeviceId,
    Gclid,
    Dclid,
    MatchId,
}

/// What people agreed to, as the project says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Agreement {
    Granted,
    Denied,
    Unspecified,
}

impl Identity {
    /// The profile column without which a person cannot be told, if it is one.
    pub(super) fn required(self) -> Vec<&'static str> {
        self.column().into_iter().collect()
    }

    const fn column(self) -> Option<&'static str> {
        match self {
            Self::MobileDeviceId => Some("mobile_device_id"),
            Self::Gclid => Some("gclid"),
            Self::Dclid => Some("dclid"),
            Self::MatchId => None,
        }
    }

    /// The field and what it holds.
    fn of(self, message: &Message) -> Result<(&'static str, String), String> {
        let Some(column) = self.column() else {
            return Ok(("matchId", message.subject().to_owned()));
        };
        let said = message.profile().find(|(name, _)| *name == column);
        let text = said.map(|(_, value)| value.to_string()).unwrap_or_default();
        let text = text.trim();
        match self {
            _ if text.is_empty() => Err(format!("it has no `{column}`")),
            Self::MobileDeviceId => {
                // As issued, upper or lower case.
                normalise::plain_advertising_id(text, None)?;
                Ok(("mobileDeviceId", text.to_owned()))
            }
            Self::Gclid => Ok(("gclid", text.to_owned())),
            Self::Dclid | Self::MatchId => Ok(("dclid", text.to_owned())),
        }
    }
}

/// `u1` to `u100`, as Campaign Manager writes them.
pub(super) fn variables(given: BTreeMap<String, String>) -> Result<Vec<(String, String)>, String> {
    given
        .into_iter()
        .map(|(name, property)| {
            let number = name.strip_prefix(['u', 'U']).and_then(|number| number.parse::<u8>().ok());
            match number {
                Some(number @ 1..=100) => Ok((format!("U{number}"), property)),
                _ => Err("holds a name that is not one of `u1` to `u100`".to_owned()),
            }
        })
        .collect()
}

impl Conversion {
    /// The conversions that a message becomes; none for who leaves, where nothing tells that.
    pub(super) fn written(&self, message: &Message) -> Result<Vec<Vec<u8>>, String> {
        let activity = match (message.is_member(), &self.exit_activity) {
            (true, _) => &self.activity,
            (false, Some(activity)) => activity,
            (false, None) => return Ok(Vec::new()),
        };
        let time = chrono::DateTime::parse_from_rfc3339(message.timestamp())
            .map_err(|error| format!("its time cannot be read: {error}"))?
            .timestamp_micros();
        let identity = self.identity.of(message)?;
        let events = message.events();
        events
            .iter()
            .map(|event| {
                let mut object = json!({
                    "floodlightConfigurationId": self.configuration,
                    "floodlightActivityId": activity,
                    "timestampMicros": time.to_string(),
                    "ordinal": event.id.to_string(),
                    "quantity": "1",
                    "value": 0,
                    "customVariables": self.values(event)?,
                });
                object[identity.0] = json!(identity.1);
                match self.ad_user_data {
                    Agreement::Granted => object["adUserDataConsent"] = json!("GRANTED"),
                    Agreement::Denied => object["adUserDataConsent"] = json!("DENIED"),
                    Agreement::Unspecified => {}
                }
                for (name, flag) in self.flags {
                    if let Some(flag) = flag {
                        object[name] = json!(flag);
                    }
                }
                written(&object)
            })
            .collect()
    }

    fn values(&self, event: &Event<'_>) -> Result<Vec<Json>, String> {
        let mut values = Vec::new();
        for (variable, property) in &self.variables {
            let found = event.properties.iter().find(|(name, _)| name == property);
            let Some((name, value)) = found.filter(|(_, value)| !value.is_null()) else { continue };
            let text = value.to_string();
            if text.contains(['"', '<', '>', '#']) {
                return Err(format!(
                    "`{name}` holds a character that Floodlight does not take (a quote, `<`, `>` or `#`)"
                ));
            }
            values.push(json!({"type": variable, "value": text}));
        }
        Ok(values)
    }
}
