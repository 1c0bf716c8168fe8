//! A hashed list, found by name or created, whose members are added and removed by two requests.
//!
//! A batch mixes both: the second request may fail after the first one worked. That is sound, since
//! adding who is there and removing who is not change nothing: the batch as a whole is repeated, or
//! halved, until every part of it went through.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{LIST, hashed, sent, session, sha256};
use crate::delivery::{Reply, Request, Session};
use crate::destinations::fixture::{batch, member, receipt, target, target_with};
use crate::destinations::{
    Batch, Delivery, Destination, Fault, MatchField, Normalise, Outcome, Remote, Secret, Spec,
    Target,
};
use crate::message::Message;
use crate::record::Change;

static SPEC: Spec = Spec {
    kind: "facebook",
    match_fields: &[
        MatchField { source: "email", normalise: email },
        MatchField { source: "phone", normalise: phone },
    ],
    ..LIST
};

#[derive(Debug)]
struct Facebook {
    base: Url,
    account: String,
    token: Secret,
}

fn email(text: &str, _: Option<&str>) -> Result<String, &'static str> {
    let text = text.trim().to_lowercase();
    text.contains('@').then_some(text).ok_or("not an email address")
}

fn phone(text: &str, _: Option<&str>) -> Result<String, &'static str> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_start_matches('0');
    (!digits.is_empty()).then(|| digits.to_owned()).ok_or("no digits")
}

#[derive(Debug, Deserialize)]
struct List {
    id: String,
    #[serde(default)]
    name: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    data: Vec<List>,
}

#[derive(Debug, Deserialize)]
struct Uploaded {
    num_received: usize,
    num_invalid_entries: u64,
}

impl Facebook {
    fn request(&self, method: http::Method, path: &str) -> Request {
        let mut url = self.base.clone();
        url.set_path(&format!("/v26.0/{path}"));
        Request::new(method, url).bearer(&self.token)
    }

    async fn create(&self, session: &Session, name: &str) -> Result<List, Fault> {
        let body = json!({"name": name, "subtype": "CUSTOM", "customer_file_source": "USER_PROVIDED_ONLY"});
        let request = self
            .request(http::Method::POST, &format!("act_{}/customaudiences", self.account))
            .repeatable(false)
            .json_body(body.to_string().into());
        session.send(request).await?.json()
    }

    /// One request for the members that enter or for those that leave; none when there are none.
    async fn upload(
        &self,
        session: &Session,
        remote: &Remote,
        (method, members): (http::Method, Vec<&Message>),
    ) -> Result<u64, Fault> {
        if members.is_empty() {
            return Ok(0);
        }
        let rows: Vec<Vec<String>> = members
            .iter()
            .map(|member| SPEC.match_fields.iter().map(|field| hashed(field, member)).collect())
            .collect();
        let body = json!({"payload": {"schema": ["EMAIL", "PHONE"], "data": rows}});
        let list = remote.0["id"].as_str().unwrap_or_default();
        let request =
            self.request(method, &format!("{list}/users")).json_body(body.to_string().into());
        let uploaded: Uploaded = session.send(request).await?.json()?;
        if uploaded.num_received != members.len() {
            return Err(Fault::Protocol { reason: "it received another number of rows".into() });
        }
        Ok(uploaded.num_invalid_entries)
    }
}

#[async_trait]
impl Destination for Facebook {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        session.send(self.request(http::Method::GET, "me")).await.map(|_| ())
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        if let Some(remote) = &target.remote {
            return Ok(remote.clone());
        }
        let name = target.list.as_deref().unwrap_or(&target.model_name);
        let lists = format!("act_{}/customaudiences", self.account);
        let page: Page = session.send(self.request(http::Method::GET, &lists)).await?.json()?;
        let list = match page.data.into_iter().find(|list| list.name == name) {
            Some(list) => list,
            None => self.create(session, name).await?,
        };
        Ok(Remote(json!({"id": list.id})))
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let (entering, leaving): (Vec<_>, Vec<_>) =
            batch.messages().iter().partition(|message| message.is_member());
        let mut unusable = 0;
        for part in [(http::Method::POST, entering), (http::Method::DELETE, leaving)] {
            unusable += self.upload(session, remote, part).await?;
        }
        let mut receipt = batch.delivered();
        if unusable > 0 {
            receipt.notice(unusable, "invalid entries");
        }
        Ok(receipt.into())
    }
}

fn facebook() -> Facebook {
    Facebook {
        base: Url::parse("http://127.0.0.1:9").unwrap(),
        account: "310".into(),
        token: Secret::new("hush-token"),
    }
}

fn uploaded(received: usize, invalid: usize) -> Reply {
    let body = json!({"num_received": received, "num_invalid_entries": invalid});
    Reply::status(200, body.to_string())
}

#[test]
fn normalising_and_hashing_follow_the_vendor() {
    let hash = |normalise: Normalise, text| sha256(&normalise(text, None).unwrap());
    for (normalise, text, expected) in [
        (
            email as Normalise,
            "  Ada.Lovelace@Example.ORG ",
            "7799473ff091b38137e0698047364e040446fe7cb3209e8321d5a865127853d0",
        ),
        (
            email,
            "Ada.Lovelace+vip@Gmail.com",
            "7120f4acc1e8fbfe9733aa58f7459cbce70d7bd46a1e17974c2f896efeb36eae",
        ),
        (
            phone,
            "+1 (650) 555-0188",
            "3cc4bf32fddc1864b842ce6116bd9830b8baf4152a5680c37311a8ed61848f65",
        ),
    ] {
        assert_eq!(hash(normalise, text), expected);
    }
}

#[tokio::test]
async fn a_list_is_found_by_name_or_created_once() {
    let found = r#"{"data":[{"id":"1","name":"other"},{"id":"2","name":"VIP"}]}"#;
    let finding = session(&SPEC, vec![Reply::status(200, found)]);
    let remote = facebook().open(&finding, &target()).await.unwrap();
    assert_eq!(remote.0, json!({"id": "2"}));

    let replies = vec![Reply::status(200, r#"{"data":[]}"#), Reply::status(200, r#"{"id":"3"}"#)];
    let creating = session(&SPEC, replies);
    let remote = facebook().open(&creating, &target()).await.unwrap();
    assert_eq!(remote.0, json!({"id": "3"}));
    insta::assert_snapshot!(sent(&creating), @r#"
    GET /v26.0/act_310/customaudiences 
    POST /v26.0/act_310/customaudiences {"customer_file_source":"USER_PROVIDED_ONLY","name":"VIP","subtype":"CUSTOM"}
    "#);

    let knowing = session(&SPEC, Vec::new());
    let known = facebook().open(&knowing, &target_with(json!({"id": "3"}))).await.unwrap();
    assert_eq!((known, sent(&knowing)), (remote, String::new()));
}

#[tokio::test]
async fn a_batch_adds_and_removes() {
    let members = batch([
        member("u1", "ada.lovelace@example.org", Some("16505550188"), Change::Entered),
        member("u2", "gone@example.org", None, Change::Exited),
        member("u3", "new@example.org", None, Change::Entered),
    ]);
    let session = session(&SPEC, vec![uploaded(2, 1), uploaded(1, 0)]);
    let remote = Remote(json!({"id": "3"}));
    let receipt = receipt(facebook().deliver(&session, &remote, &members).await.unwrap());
    assert_eq!(receipt.outcomes(), vec![Outcome::Delivered; 3]);
    let notice = receipt.notices().first().unwrap();
    assert_eq!((notice.count, notice.reason.as_str()), (1, "invalid entries"));
    insta::assert_snapshot!(sent(&session), @r#"
    POST /v26.0/3/users {"payload":{"data":[["7799473ff091b38137e0698047364e040446fe7cb3209e8321d5a865127853d0","3cc4bf32fddc1864b842ce6116bd9830b8baf4152a5680c37311a8ed61848f65"],["73a752537285573831fe4911dc2bcfd1d05c7e57243a403a7ec76ca481bc4c87",""]],"schema":["EMAIL","PHONE"]}}
    DELETE /v26.0/3/users {"payload":{"data":[["623465a03597bc5e82ec2293361902ff9f0f6b90ae3aeb5e1740570cdc3adfb3",""]],"schema":["EMAIL","PHONE"]}}
    "#);
}

#[tokio::test]
async fn what_is_refused_is_never_success() {
    let members = batch([member("u1", "a@example.org", None, Change::Entered)]);
    let remote = Remote(json!({"id": "3"}));
    let body: Value = json!({"error": {"code": 100, "message": "hush-token is not welcome"}});
    for (reply, expected) in [
        (Reply::status(400, body.to_string()), "refused by the destination"),
        (uploaded(0, 0), "unreadable reply"),
    ] {
        let session = session(&SPEC, vec![reply]);
        let fault = facebook().deliver(&session, &remote, &members).await.err().unwrap();
        assert!(fault.to_string().starts_with(expected), "{fault}");
        assert!(!fault.to_string().contains("hush"), "{fault}");
    }
}
