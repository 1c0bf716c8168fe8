//! An asynchronous job: what is submitted is accepted, not applied; asked later, possibly by another
//! process, the platform only counts what it could not use.
//!
//! A batch that mixes members who enter and who leave becomes two requests, whose ids share a handle.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::{LIST, hashed, sent, session};
use crate::delivery::{Reply, Request, Session};
use crate::destinations::fixture::{batch, member};
use crate::destinations::{
    Batch, Delivery, Destination, Fault, Job, MatchField, Outcome, Receipt, Remote, Secret,
    Settlement, Spec,
};
use crate::message::Message;
use crate::record::Change;

static SPEC: Spec =
    Spec { kind: "google", match_fields: &[EMAIL], min_interval: Duration::from_hours(6), ..LIST };

const EMAIL: MatchField = MatchField { source: "email", normalise: email };
const FIRST_POLL: Duration = Duration::from_mins(30);

#[derive(Debug)]
struct Google {
    base: Url,
    token: Secret,
}

/// Gmail ignores dots and everything after a plus.
fn email(text: &str, _: Option<&str>) -> Result<String, &'static str> {
    let text: String = text.to_lowercase().split_whitespace().collect();
    let (local, domain) = text.split_once('@').ok_or("not an email address")?;
    if !matches!(domain, "gmail.com" | "googlemail.com") {
        return Ok(text);
    }
    let local = local.split('+').next().unwrap_or_default().replace('.', "");
    Ok(format!("{local}@{domain}"))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Submitted {
    request_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statuses {
    request_status_per_destination: Vec<Status>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    request_status: String,
    #[serde(default)]
    error_info: ErrorInfo,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ErrorInfo {
    #[serde(default)]
    error_counts: Vec<ErrorCount>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ErrorCount {
    record_count: String,
    reason: String,
}

impl Google {
    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        url
    }

    async fn submit(
        &self,
        session: &Session,
        verb: &str,
        members: &[&Message],
    ) -> Result<Option<String>, Fault> {
        if members.is_empty() {
            return Ok(None);
        }
        let member = |message: &&Message| json!({"userData": {"userIdentifiers": [{"emailAddress": hashed(&EMAIL, message)}]}});
        let members: Vec<_> = members.iter().map(member).collect();
        let body = json!({"audienceMembers": members, "encoding": "HEX"});
        let request = Request::post(self.url(&format!("/v1/audienceMembers:{verb}")))
            .bearer(&self.token)
            .json_body(body.to_string().into());
        let submitted: Submitted = session.send(request).await?.json()?;
        Ok(Some(submitted.request_id))
    }

    async fn status(&self, session: &Session, id: &str) -> Result<Vec<Status>, Fault> {
        let mut url = self.url("/v1/requestStatus:retrieve");
        url.query_pairs_mut().append_pair("requestId", id);
        let statuses: Statuses =
            session.send(Request::get(url).bearer(&self.token)).await?.json()?;
        Ok(statuses.request_status_per_destination)
    }
}

#[async_trait]
impl Destination for Google {
    async fn check(&self, _session: &Session) -> Result<(), Fault> {
        Ok(())
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let (entering, leaving): (Vec<_>, Vec<_>) =
            batch.messages().iter().partition(|message| message.is_member());
        let ids = [
            self.submit(session, "ingest", &entering).await?,
            self.submit(session, "remove", &leaving).await?,
        ];
        let requests: Vec<_> = ids.into_iter().flatten().collect();
        Ok(Delivery::Submitted(Job { handle: json!(requests), poll_after: FIRST_POLL }))
    }

    async fn settle(&self, session: &Session, job: &Job, rows: usize) -> Result<Settlement, Fault> {
        let ids: Vec<String> = serde_json::from_value(job.handle.clone())
            .map_err(|error| Fault::Protocol { reason: error.to_string() })?;
        let mut receipt = Receipt::of(rows, &Outcome::Delivered);
        for id in &ids {
            for status in self.status(session, id).await? {
                match status.request_status.as_str() {
                    "SUCCESS" | "PARTIAL_SUCCESS" => {}
                    "PROCESSING" => {
                        return Ok(Settlement::Running { poll_after: 2 * job.poll_after });
                    }
                    other => return Err(Fault::Rejected { reason: other.to_owned() }),
                }
                for ErrorCount { record_count, reason } in status.error_info.error_counts {
                    let count = record_count
                        .parse()
                        .map_err(|_| Fault::Protocol { reason: "a count is no number".into() })?;
                    receipt.notice(count, reason);
                }
            }
        }
        Ok(Settlement::Done(receipt))
    }
}

fn google() -> Google {
    Google { base: Url::parse("http://127.0.0.1:9").unwrap(), token: Secret::new("hush-token") }
}

fn answer(status: &str, errors: &serde_json::Value) -> Reply {
    let status = json!({"requestStatus": status, "errorInfo": {"errorCounts": errors}});
    Reply::status(200, json!({"requestStatusPerDestination": [status]}).to_string())
}

fn submitted(id: &str) -> Reply {
    Reply::status(200, json!({"requestId": id}).to_string())
}

#[test]
fn normalising_follows_the_vendor() {
    assert_eq!(email(" Ada.Lovelace+vip@Gmail.com ", None).as_deref(), Ok("adalovelace@gmail.com"));
    assert_eq!(email("Ada.L+shop@Example.org", None).as_deref(), Ok("ada.l+shop@example.org"));
}

#[tokio::test]
async fn a_job_survives_the_process_that_submitted_it() {
    let members = batch([
        member("u1", "adalovelace@gmail.com", None, Change::Entered),
        member("u2", "gone@example.org", None, Change::Exited),
    ]);
    let submitting = session(&SPEC, vec![submitted("a"), submitted("b")]);
    let delivery = google().deliver(&submitting, &Remote::default(), &members).await.unwrap();
    let Delivery::Submitted(job) = delivery else { panic!("not submitted") };
    insta::assert_snapshot!(sent(&submitting), @r#"
    POST /v1/audienceMembers:ingest {"audienceMembers":[{"userData":{"userIdentifiers":[{"emailAddress":"cd98a25152ad884b29e524ea5d3d8d35615ed0afbbc5ea3a6d4215572b0b2bde"}]}}],"encoding":"HEX"}
    POST /v1/audienceMembers:remove {"audienceMembers":[{"userData":{"userIdentifiers":[{"emailAddress":"623465a03597bc5e82ec2293361902ff9f0f6b90ae3aeb5e1740570cdc3adfb3"}]}}],"encoding":"HEX"}
    "#);

    // What the journal keeps is all that the next process has.
    let journaled = serde_json::to_string(&job).unwrap();
    let job: Job = serde_json::from_str(&journaled).unwrap();
    let none = json!([]);
    let some = json!([{"recordCount": "1", "reason": "PROCESSING_ERROR_REASON_INVALID_FORMAT"}]);
    let asking = session(
        &SPEC,
        vec![
            answer("SUCCESS", &none),
            answer("PROCESSING", &none),
            answer("SUCCESS", &none),
            answer("PARTIAL_SUCCESS", &some),
        ],
    );
    let Settlement::Running { poll_after } = google().settle(&asking, &job, 2).await.unwrap()
    else {
        panic!("settled too early")
    };
    assert_eq!(poll_after, Duration::from_hours(1));
    let Settlement::Done(receipt) = google().settle(&asking, &job, 2).await.unwrap() else {
        panic!("not settled")
    };
    assert_eq!(receipt.outcomes(), vec![Outcome::Delivered; 2]);
    assert_eq!(receipt.notices()[0].count, 1);
}
