//! Google's advertising APIs as every destination of Google speaks to them: how a token is asked for,
//! and what errors mean.
//!
//! What it promises: credentials are either a user's (a refresh token) or a service account's, never
//! half of both; an error is read by its reason where the status alone would mislead, since a quota
//! that is used up may come as 403.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;
use url::Url;

use super::address::{below, of_api};
use super::oauth::{Assertion, Encoding, Flow, OAuth};
use super::{Common, Fault, OptionDoc, Reader, Secret};
use crate::delivery::{Grant, Response, standard};
use crate::finding::Finding;

pub(super) const CLIENT_ID: OptionDoc =
    OptionDoc::optional("client_id", "OAuth client that the refresh token was given to");
pub(super) const CLIENT_SECRET: OptionDoc =
    OptionDoc::optional("client_secret", "the secret that belongs to it");
pub(super) const REFRESH_TOKEN: OptionDoc = OptionDoc::optional(
    "refresh_token",
    "refresh token of a user; or give `service_account` and `private_key`",
);
pub(super) const SERVICE_ACCOUNT: OptionDoc =
    OptionDoc::optional("service_account", "email address of a service account");
pub(super) const PRIVATE_KEY: OptionDoc =
    OptionDoc::optional("private_key", "its private key in PEM, as in its JSON file");

/// Options that every destination of Google takes.
#[derive(Debug)]
pub(super) struct Credentials {
    pub client_id: Option<String>,
    pub client_secret: Option<Secret>,
    pub refresh_token: Option<Secret>,
    pub service_account: Option<String>,
    pub private_key: Option<Secret>,
}

/// Where and as whom an API is spoken to.
#[derive(Debug)]
pub(super) struct Access {
    pub base: Url,
    pub grant: Arc<dyn Grant>,
    pub secrets: Vec<Secret>,
}

const TOKENS: &str = "https://oauth2.googleapis.com/token";

impl Credentials {
    /// Access to the API at `address` within `scope`; `base_url` stands for every address of Google.
    pub(super) fn access(
        self,
        reader: &Reader<'_>,
        common: &Common,
        (address, scope): (&str, &str),
    ) -> Result<Access, Vec<Finding>> {
        let refuse = |option: &str, fact: String| vec![reader.refuse(option, &fact)];
        let base = of_api(reader, common, address)?;
        let url = match &common.base_url {
            Some(base) => below(base, &["token"]),
            None => of_api(reader, common, TOKENS)?,
        };
        let secrets = [&self.client_secret, &self.refresh_token, &self.private_key];
        let secrets = secrets.into_iter().flatten().cloned().collect();
        let flow = self.flow(scope).map_err(|(option, fact)| refuse(option, fact))?;
        let extra = Vec::new();
        let grant = Arc::new(OAuth { url, flow, encoding: Encoding::Form, extra });
        Ok(Access { base, grant, secrets })
    }

    fn flow(self, scope: &str) -> Result<Flow, (&'static str, String)> {
        let user = (self.client_id, self.client_secret, self.refresh_token);
        match (user, self.service_account, self.private_key) {
            ((Some(id), Some(secret), Some(token)), None, None) => {
                Ok(Flow::Refresh { id, secret: Some(secret), token })
            }
            ((None, None, None), Some(issuer), Some(key)) => {
                // Handed over in the environment, its lines are often still joined.
                let key = Secret::new(key.expose().replace("\\n", "\n"));
                let (subject, scope) = (None, Some(scope.to_owned()));
                let audience = TOKENS.to_owned();
                let assertion = Assertion { issuer, subject, audience, scope, key };
                assertion.verify().map_err(|fact| ("private_key", fact))?;
                Ok(Flow::Assertion(assertion))
            }
            _ => Err((
                "refresh_token",
                "must stand with `client_id` and `client_secret`, or in place of all three \
                 `service_account` with `private_key`"
                    .to_owned(),
            )),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Body {
    error: Complaint,
}

/// An error in either of Google's forms: with `details`, or with `errors`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Complaint {
    message: String,
    status: String,
    details: Vec<Json>,
    errors: Vec<Json>,
}

impl Complaint {
    fn of(response: &Response) -> Option<Self> {
        serde_json::from_slice::<Body>(&response.body).ok().map(|body| body.error)
    }

    /// Every reason it gives, of the error and of single fields.
    fn reasons(&self) -> Vec<&str> {
        let violations =
            self.details.iter().filter_map(|detail| detail["fieldViolations"].as_array());
        let all = self.details.iter().chain(violations.flatten()).chain(&self.errors);
        all.filter_map(|one| one["reason"].as_str()).collect()
    }

    /// The fields it names, with what it says of them.
    fn fields(&self) -> Vec<String> {
        let violations =
            self.details.iter().filter_map(|detail| detail["fieldViolations"].as_array());
        let text = |one: &Json, name: &str| one[name].as_str().unwrap_or_default().to_owned();
        violations
            .flatten()
            .map(|one| format!("{}: {}", text(one, "field"), text(one, "description")))
            .take(3)
            .collect()
    }

    fn quota(&self) -> Option<&str> {
        self.details.iter().find_map(|detail| detail["metadata"]["quota_limit"].as_str())
    }

    fn worded(&self, status: u16) -> String {
        let mut parts = vec![format!("HTTP {status} {}", self.status).trim_end().to_owned()];
        parts.extend(self.reasons().first().map(|reason| (*reason).to_owned()));
        parts.push(self.message.chars().take(300).collect());
        parts.extend(self.fields());
        parts.retain(|part| !part.is_empty());
        parts.join(": ")
    }
}

/// Whether the error names this reason.
pub(super) fn names(response: &Response, reason: &str) -> bool {
    Complaint::of(response).is_some_and(|error| error.reasons().contains(&reason))
}

/// What a destination must be told otherwise before anything can be taken.
const UNUSABLE: &[&str] = &[
    "TERMS_AND_CONDITIONS_NOT_SIGNED",
    "NOT_ALLOWLISTED",
    "CUSTOMER_NOT_ALLOWLISTED_FOR_THIS_FEATURE",
    "INVALID_USER_LIST_ID",
    "INVALID_USER_LIST_TYPE",
    "INVALID_DESTINATION",
    "OPERATING_ACCOUNT_LOGIN_ACCOUNT_MISMATCH",
    "DISPLAY_NAME_ALREADY_USED",
    "MEMBERSHIP_DURATION_TOO_LONG",
];

/// Reads a reply by the reasons of its error.
pub(super) fn answered(response: &Response) -> Result<(), Fault> {
    let Some(error) = Complaint::of(response) else { return standard(response) };
    let (reason, reasons) = (error.worded(response.status), error.reasons());
    let is_quota = reasons.iter().any(|reason| {
        ["dailyLimitExceeded", "userRateLimitExceeded", "rateLimitExceeded", "quotaExceeded"]
            .contains(reason)
    });
    if response.status == 429 || (response.status == 403 && is_quota) {
        let daily = reasons.contains(&"dailyLimitExceeded")
            || error.quota().is_some_and(|quota| quota.contains("PerDay"));
        let pause = if daily { Duration::from_hours(1) } else { Duration::from_mins(1) };
        let retry_after = response.retry_after().or(Some(pause));
        return Err(Fault::Throttled { retry_after, reason });
    }
    let is_unusable = reasons.iter().any(|reason| UNUSABLE.contains(reason));
    if (400..500).contains(&response.status) && is_unusable {
        return Err(Fault::Misconfigured { reason });
    }
    standard(response).map_err(|fault| match fault {
        Fault::Rejected { .. } => Fault::Rejected { reason },
        Fault::Denied { .. } => Fault::Denied { reason },
        Fault::Misconfigured { .. } => Fault::Misconfigured { reason },
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(status: u16, error: &Json) -> Result<(), Fault> {
        let headers = http::HeaderMap::new();
        let body = json!({ "error": error }).to_string().into();
        answered(&Response { status, headers, body })
    }

    #[test]
    fn a_used_up_quota_pauses_in_either_form() {
        let pause = |status, error: Json| match read(status, &error) {
            Err(Fault::Throttled { retry_after, .. }) => retry_after.map(|pause| pause.as_secs()),
            other => panic!("{other:?}"),
        };
        let info = |limit: &str| json!({"details": [{"reason": "RATE_LIMIT_EXCEEDED", "metadata": {"quota_limit": limit}}]});
        assert_eq!(pause(429, info("IngestPerMinutePerProject")), Some(60));
        assert_eq!(pause(429, info("IngestPerDayPerProject")), Some(3600));
        for (reason, seconds) in [("dailyLimitExceeded", 3600), ("userRateLimitExceeded", 60)] {
            assert_eq!(pause(403, json!({"errors": [{"reason": reason}]})), Some(seconds));
        }
    }

    #[test]
    fn an_error_is_told_with_its_reason_and_the_fields_it_names() {
        let violation = json!({"field": "audience_members[3].user_data", "description": "Not hex.", "reason": "INVALID_HEX_ENCODING"});
        let error = json!({
            "code": 400, "status": "INVALID_ARGUMENT", "message": "There was a problem.",
            "details": [{"reason": "INVALID_ARGUMENT"}, {"fieldViolations": [violation]}],
        });
        assert_eq!(
            read(400, &error),
            Err(Fault::Rejected {
                reason: "HTTP 400 INVALID_ARGUMENT: INVALID_ARGUMENT: There was a problem.: audience_members[3].user_data: Not hex.".into()
            })
        );
    }

    #[test]
    fn what_the_account_must_change_first_halts_the_sync() {
        for reason in
            ["TERMS_AND_CONDITIONS_NOT_SIGNED", "INVALID_USER_LIST_ID", "INVALID_USER_LIST_TYPE"]
        {
            let read = read(400, &json!({"details": [{ "reason": reason }]}));
            assert!(matches!(read, Err(Fault::Misconfigured { .. })), "{reason}");
        }
        let denied = json!({"status": "PERMISSION_DENIED", "message": "No."});
        let reason = "HTTP 403 PERMISSION_DENIED: No.".to_owned();
        assert_eq!(read(403, &denied), Err(Fault::Denied { reason }));
    }
}
