//! Two throw-away destinations that prove that the contract can express what is to come: a hashed
//! list that is found or created, and an asynchronous job that only counts. They exist in tests only;
//! the real ones will replace them. A third, the recorder, is what whole runs in tests are sent to.

mod facebook;
mod google;
pub(super) mod recorder;

use super::{BatchLimits, Common, MatchField, Spec};
use crate::delivery::{Reply, Session, Terms};

/// A list of people matched by hashed email and phone.
const LIST: Spec = Spec {
    kind: "sketch",
    title: "Sketch",
    summary: "A sketch.",
    identifiers: "email, phone",
    batch: BatchLimits { rows: 10_000, max_rows: 10_000, bytes: 8_000_000, row_bytes: 100_000 },
    concurrency: 1,
    ..Spec::LIST
};

fn session(spec: &'static Spec, replies: Vec<Reply>) -> Session {
    let secrets = ["hush-token".to_owned()].into();
    Session::scripted(&Terms { spec, common: Common::default(), secrets }, replies)
}

/// The lines of everything that was sent: method, path and body.
fn sent(session: &Session) -> String {
    let line = |request: &crate::delivery::Captured| {
        let path = url::Url::parse(&request.url).unwrap();
        let query = path.query().map(|query| format!("?{query}")).unwrap_or_default();
        let body = String::from_utf8_lossy(&request.body);
        format!("{} {}{query} {body}\n", request.method, path.path())
    };
    session.captured().iter().map(line).collect()
}

fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    crate::digest::hex(&Sha256::digest(text.as_bytes()))
}

/// What a platform is matched by, hashed; an empty text where the member has no such field.
fn hashed(field: &MatchField, member: &crate::message::Message) -> String {
    field.of(member).map(sha256).unwrap_or_default()
}
