//! Signing in to an organisation of Salesforce, and how it turns requests away.

use std::collections::BTreeSet;

use serde_json::json;

use super::stage::{Asked, Told};

/// The session that is valid.
#[derive(Debug, Default)]
pub struct Session(u32);

impl Session {
    /// The answer to whoever signs in, or comes without the valid session.
    pub fn at_the_door(&self, asked: &Asked, violations: &mut BTreeSet<String>) -> Option<Told> {
        let (_, path) = asked.parts();
        if path == ["services", "oauth2", "token"] {
            return Some(self.sign_in(asked, violations));
        }
        match asked.headers.get("authorization").map(String::as_str) {
            Some(token) if token == format!("Bearer s{}", self.0) => None,
            Some(token) if token.starts_with("Bearer s") => {
                Some(complaint(401, "INVALID_SESSION_ID", "Session expired or invalid"))
            }
            _ => {
                violations.insert("a request without a session".into());
                Some(complaint(401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE"))
            }
        }
    }

    pub fn expire(&mut self) {
        self.0 += 1;
    }

    fn sign_in(&self, asked: &Asked, violations: &mut BTreeSet<String>) -> Told {
        if !asked.text.contains("client_id=muster&client_secret=s3cret") {
            violations.insert("somebody else's credentials".into());
        }
        Told::json(
            200,
            &json!({"access_token": format!("s{}", self.0), "token_type": "Bearer",
                "instance_url": "https://acme.my.salesforce.com", "issued_at": "1795161816000"}),
        )
    }
}

/// A limit of the organisation that is used up.
pub fn throttled(asked: &Asked) -> Option<Told> {
    let message = ["TotalRequests Limit exceeded.", "ConcurrentRequests Limit exceeded."];
    let message = message[asked.text.len() % 2];
    let is_data = asked.path.get(1).is_some_and(|part| part == "data");
    is_data.then(|| complaint(403, "REQUEST_LIMIT_EXCEEDED", message))
}

pub fn complaint(status: u16, code: &str, message: &str) -> Told {
    Told::json(status, &json!([{"message": message, "errorCode": code}]))
}
