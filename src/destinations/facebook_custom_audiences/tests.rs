//! What Meta is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{
    Conversation, IVO, MARA, User, ZOE, batch, configured, target, told,
};
use crate::destinations::{Batch, Configured, Fault, Notice, Outcome, Remote, Target};
use crate::record::{Call, Change};

/// One list, named as the fixtures' model, and every row is read.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let path = request.url.split('?').next().unwrap_or_default();
    let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
    let rows = body["payload"]["data"].as_array().map_or(0, Vec::len);
    match (request.method.as_str(), path.rsplit('/').next()) {
        ("GET", Some("customaudiences")) => Reply::json(&json!({
            "data": [{"id": "23850000000000001", "name": "VIP", "subtype": "CUSTOM"}],
        })),
        ("POST", Some("customaudiences")) => Reply::json(&json!({"id": "23850000000000002"})),
        ("POST" | "DELETE", Some("users" | "usersreplace")) => Reply::json(&uploaded(rows, 0)),
        _ => Reply::json(&json!({"id": "1234567890"})),
    }
}

fn uploaded(received: usize, invalid: usize) -> Json {
    json!({
        "audience_id": "23850000000000001",
        "session_id": "7311",
        "num_received": received,
        "num_invalid_entries": invalid,
        "invalid_entry_samples": {},
    })
}

fn facebook(more: &str) -> Configured {
    let text = format!(
        "[destinations.fb]\ntype = \"facebook_custom_audiences\"\naccess_token = \"${{TOKEN}}\"\n\
         ad_account_id = \"act_310\"\ncustomer_file_source = \"user_provided_only\"\n{more}"
    );
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn list(name: &str) -> Target {
    Target { call: Call::List, list: Some(name.into()), ..target() }
}

fn mixed(made: &Configured) -> Batch {
    batch([
        made.audience(Call::List, MARA, Change::Entered),
        made.audience(Call::List, ZOE, Change::Exited),
        made.audience(Call::List, IVO, Change::Entered),
    ])
}

async fn answered(replies: Vec<Reply>) -> Conversation {
    let made = facebook("");
    let found = Reply::json(&json!({"data": [{"id": "23850000000000001", "name": "VIP"}]}));
    made.converse(&mixed(&made), [found].into_iter().chain(replies).collect()).await
}

fn refused(status: u16, error: &Json) -> Reply {
    Reply::status(status, json!({ "error": error }).to_string())
}

#[tokio::test]
async fn who_enters_is_added_and_who_leaves_is_removed() {
    let made = facebook("");
    let said = made.converse(&mixed(&made), Vec::new()).await;
    assert_snapshot!(said.wire(), @r#"
    GET https://graph.facebook.com/v26.0/act_310/customaudiences?fields=id%2Cname%2Csubtype&limit=200
    DELETE https://graph.facebook.com/v26.0/23850000000000001/users {"payload":{"data":[["a7165e860eff27cf3d5a6e7c85246f8843dddd9b1e5943efa69bda4bb765ebb8","1619cdd5ef17135806c0e6f0c5b1dc61aa9038011f6c7a1704b03a28a15c9459"]],"schema":["EMAIL","PHONE"]}}
    POST https://graph.facebook.com/v26.0/23850000000000001/users {"payload":{"data":[["fea464bda05242064372e66ecb3e93c8fe125948c626059f5f0c17807ee108a9","bebe94f2295c18636a1e7bd7cccc05f5ca1a8d2eba789bc76b8c6eb7c6c7d8f5"],["d80de76a120a52c4fd2c6d669da8c0e93605087519cb9d656da6a202cea7077c","bebe94f2295c18636a1e7bd7cccc05f5ca1a8d2eba789bc76b8c6eb7c6c7d8f5"]],"schema":["EMAIL","PHONE"]}}
    "#);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn secrets_travel_in_a_header_and_as_a_proof() {
    let made = facebook("app_secret = \"${APP}\"\napi_version = \"v25.0\"\n");
    let said = made.converse(&made.several(), Vec::new()).await;
    let request = said.captured.last().unwrap();
    assert_eq!(
        request.url,
        "https://graph.facebook.com/v25.0/23850000000000001/users?appsecret_proof=[secret]"
    );
    assert_eq!(request.headers[0], ("authorization".into(), "[secret]".into()));
}

#[tokio::test]
async fn all_kinds_of_identifiers_and_profiles_have_their_columns() {
    let made = facebook(
        "match_by = [\"email\", \"external_id\", \"idfa\", \"gaid\"]\nsend_profile = true\n",
    );
    let ids = [
        ("idfa", "EA7583CD-A667-48BC-B806-42ECB2B48606"),
        ("gaid", "AEBE52E7-03EE-455A-B3C4-E57283966239"),
        ("external_id", "crm-17"),
    ];
    let profile = [
        ("first_name", "Mara-Li"),
        ("last_name", "O'Neil"),
        ("city", "San Francisco"),
        ("state", "California"),
        ("zip", "94105-1234"),
        ("country", "US"),
        ("gender", "divers"),
        ("date_of_birth", "1815-12-10"),
    ];
    let members = batch([
        made.member(MARA, Change::Entered, &ids, &profile),
        made.member(IVO, Change::Entered, &ids[2..], &[]),
        made.member(ZOE, Change::Exited, &ids[..1], &profile),
    ]);
    let said = made.converse(&members, Vec::new()).await;
    assert_snapshot!(said.wire(), @r#"
    GET https://graph.facebook.com/v26.0/act_310/customaudiences?fields=id%2Cname%2Csubtype&limit=200
    DELETE https://graph.facebook.com/v26.0/23850000000000001/users {"payload":{"data":[["a7165e860eff27cf3d5a6e7c85246f8843dddd9b1e5943efa69bda4bb765ebb8","ea7583cd-a667-48bc-b806-42ecb2b48606"]],"schema":["EMAIL","MADID"]}}
    POST https://graph.facebook.com/v26.0/23850000000000001/users {"payload":{"data":[["fea464bda05242064372e66ecb3e93c8fe125948c626059f5f0c17807ee108a9","ea7583cd-a667-48bc-b806-42ecb2b48606","crm-17","5336c2a8988d7112a1d6bd66979a4e0412d3d977116e9a55ff6e0c2e215b842a","67a42a846e98e3c1a96cd6ba14883a5ea05990cd93964ce8b832aa9497ca785c","1a6bd4d9d79dc0a79b53795c70d3349fa9e38968a3fbefbfe8783efb1d2b6aac","6959097001d10501ac7d54c0bdb8db61420f658f2922cc26e46d536119a31126","e73ac16e69f060ee98b0fda5f66f48c4648ee26950e9bab3a097389853fd859e","79adb2a2fce5c6ba215fe5f27f532d4e7edbac4b6a5e09e1ef3a08084a904621","934aa7be7deafc0053e92ce49a029603af8bc0b3891322a10b7ab730dfaa5d63","6b51d431df5d7f141cbececcf79edf3dd861c3b4069f0b11661a3eefacbba918","4a44dc15364204a80fe80e9039455cc1608281820fe2b24f1e5233ade6af1dd5"],["","aebe52e7-03ee-455a-b3c4-e57283966239","","","","","","","","","",""],["d80de76a120a52c4fd2c6d669da8c0e93605087519cb9d656da6a202cea7077c","","crm-17","","","","","","","","",""]],"schema":["EMAIL","MADID","EXTERN_ID","FN","LN","CT","ST","ZIP","COUNTRY","DOBY","DOBM","DOBD"]}}
    "#);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn people_are_in_the_country_of_the_project_where_their_profile_names_none() {
    let made = facebook("match_by = [\"email\"]\nsend_profile = true\ncountry = \"US\"\n");
    let nowhere = [("zip", "941051234"), ("country", " ")];
    let abroad = [("zip", "941051234"), ("country", "NL")];
    let members = batch([
        made.member(MARA, Change::Entered, &[], &nowhere),
        made.member(IVO, Change::Entered, &[], &abroad),
    ]);
    let said = made.converse(&members, Vec::new()).await;
    let body: Json = serde_json::from_slice(&said.captured[1].body).unwrap();
    let (payload, hash) = (&body["payload"], super::super::normalise::sha256);
    assert_eq!(payload["schema"], json!(["EMAIL", "ZIP", "COUNTRY"]));
    let places = |row: usize| [1, 2].map(|column| payload["data"][row][column].clone());
    assert_eq!(places(0), [json!(hash("94105")), json!(hash("us"))]);
    assert_eq!(places(1), [json!(hash("941051234")), json!(hash("nl"))]);
}

#[tokio::test]
async fn a_list_is_adopted_by_name_over_all_pages() {
    let made = facebook("");
    let next = json!({"cursors": {"after": "xyz"}, "next": "https://graph.facebook.com/…"});
    let pages = vec![
        Reply::json(
            &json!({"data": [{"id": "1", "name": "Buyers", "subtype": "WEBSITE"}], "paging": next}),
        ),
        Reply::json(
            &json!({"data": [{"id": "2", "name": "Buyers", "subtype": "CUSTOM"}], "paging": {"cursors": {"after": "end"}}}),
        ),
    ];
    let session = Session::scripted(&made.terms(), pages);
    let remote = made.destination.open(&session, &list("Buyers")).await.unwrap();
    assert_eq!(remote.0, json!({"id": "2"}));
    let urls: Vec<_> = session.captured().into_iter().map(|request| request.url).collect();
    assert_eq!(
        urls,
        [
            "https://graph.facebook.com/v26.0/act_310/customaudiences?fields=id%2Cname%2Csubtype&limit=200",
            "https://graph.facebook.com/v26.0/act_310/customaudiences?fields=id%2Cname%2Csubtype&limit=200&after=xyz",
        ]
    );
}

#[tokio::test]
async fn a_list_that_is_not_there_is_created_once() {
    let made = facebook("");
    let session =
        Session::scripted(&made.terms(), vec![Reply::json(&json!({"data": []})), Reply::Lost]);
    let fault = made.destination.open(&session, &list("Buyers")).await.unwrap_err();
    assert!(matches!(fault, Fault::Ambiguous { .. }), "{fault}");
    let created = &session.captured()[1];
    assert_eq!(session.captured().len(), 2);
    assert_snapshot!(String::from_utf8_lossy(&created.body), @r#"{"customer_file_source":"USER_PROVIDED_ONLY","name":"Buyers","subtype":"CUSTOM"}"#);

    let known = Target { remote: Some(Remote(json!({"id": "3"}))), ..target() };
    let session = Session::scripted(&made.terms(), Vec::new());
    assert_eq!(made.destination.open(&session, &known).await.unwrap().0, json!({"id": "3"}));
    assert!(session.captured().is_empty());
}

#[tokio::test]
async fn of_several_lists_with_one_name_none_is_picked() {
    let made = facebook("");
    let lists = json!({"data": [{"id": "1", "name": "VIP"}, {"id": "2", "name": "VIP"}]});
    let session = Session::scripted(&made.terms(), vec![Reply::json(&lists)]);
    let fault = made.destination.open(&session, &target()).await.unwrap_err();
    assert_snapshot!(fault, @"misconfigured: there are several lists named `VIP` (1, 2); write the id of the one that is meant as the sync's `list`");
}

#[tokio::test]
async fn a_list_named_by_its_id_must_be_a_customer_list() {
    let made = facebook("");
    let missing = json!({"code": 100, "error_subcode": 33, "message": "Unsupported get request."});
    for (reply, expected) in [
        (
            Reply::json(&json!({"id": "23850000000000009", "subtype": "CUSTOM"})),
            Ok("23850000000000009"),
        ),
        (
            Reply::json(&json!({"id": "23850000000000009", "subtype": "LOOKALIKE"})),
            Err(
                "misconfigured: the list `23850000000000009` cannot be used: it is no customer list",
            ),
        ),
        (
            refused(400, &missing),
            Err(
                "misconfigured: the list `23850000000000009` cannot be used: HTTP 400, code 100/33: Unsupported get request.",
            ),
        ),
    ] {
        let session = Session::scripted(&made.terms(), vec![reply]);
        let remote = made.destination.open(&session, &list("23850000000000009")).await;
        let remote = remote.map(|remote| remote.0["id"].as_str().unwrap().to_owned());
        let told = remote.map_err(|fault| fault.to_string());
        assert_eq!(told.as_deref().map_err(String::as_str), expected);
    }
}

#[tokio::test]
async fn rows_that_meta_could_not_read_are_told_as_a_count() {
    let said = answered(vec![Reply::json(&uploaded(1, 1)), Reply::json(&uploaded(2, 1))]).await;
    let reason = "Meta could not read the row";
    assert_eq!(said.notices, [Notice { count: 2, reason: reason.into() }]);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn another_number_of_rows_is_not_success() {
    for body in [uploaded(2, 0), json!({"num_received": "1"}), json!({"success": true})] {
        let said = answered(vec![Reply::json(&body)]).await;
        assert!(matches!(said.result, Err(Fault::Protocol { .. })), "{:?}", said.result);
    }
}

#[tokio::test]
async fn a_refusal_is_halved_and_an_old_token_halts() {
    let bad = json!({"code": 100, "message": "Invalid parameter"});
    let said = answered(vec![refused(400, &bad)]).await;
    assert!(matches!(said.result, Err(Fault::Rejected { .. })));
    // The removal went through before the members were refused: the batch is repeated as a whole.
    let said = answered(vec![Reply::json(&uploaded(1, 0)), refused(400, &bad)]).await;
    assert!(matches!(said.result, Err(Fault::Rejected { .. })));
    let old = json!({"code": 190, "error_subcode": 463, "message": "Session has expired"});
    let said = answered(vec![refused(400, &old)]).await;
    assert_eq!(
        said.result,
        Err(Fault::Denied { reason: "HTTP 400, code 190/463: Session has expired".into() })
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_down_waits_as_long_as_meta_says() {
    let started = tokio::time::Instant::now();
    let busy = json!({"code": 80_003, "message": "There have been too many calls"});
    let usage = r#"{"310":[{"type":"custom_audience","call_count":100,"total_cputime":1,"total_time":1,"estimated_time_to_regain_access":9}]}"#;
    let reply = refused(400, &busy).with_header("x-business-use-case-usage", usage);
    let said = answered(vec![reply]).await;
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    assert!(started.elapsed().as_secs() >= 540);
}

#[tokio::test]
async fn a_replacement_is_one_session_whose_last_batch_says_so() {
    let made = facebook("match_by = [\"email\"]\n");
    let session = Session::served(&made.terms(), Vec::new(), server);
    let started = chrono::DateTime::from_timestamp(1_795_165_200, 0).unwrap();
    let (here, list) = (&made.destination, Remote(json!({"id": "3"})));
    let list = here.begin_replacing(&session, &list, started).await.unwrap();
    for user in [MARA, IVO] {
        let one = batch([made.audience(Call::List, user, Change::Entered)]);
        here.deliver(&session, &list, &one).await.unwrap();
    }
    here.finish_replacing(&session, &list).await.unwrap();
    let line = |request: &Captured| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        format!("{} {} {body}\n", request.method, request.url)
    };
    let shown: String = session.captured().iter().map(line).collect();
    assert_snapshot!(shown, @r#"
    POST https://graph.facebook.com/v26.0/3/usersreplace {"payload":{"data":[["fea464bda05242064372e66ecb3e93c8fe125948c626059f5f0c17807ee108a9"]],"schema":["EMAIL"]},"session":{"batch_seq":1,"last_batch_flag":false,"session_id":1795165200000000}}
    POST https://graph.facebook.com/v26.0/3/usersreplace {"payload":{"data":[["d80de76a120a52c4fd2c6d669da8c0e93605087519cb9d656da6a202cea7077c"]],"schema":["EMAIL"]},"session":{"batch_seq":2,"last_batch_flag":false,"session_id":1795165200000000}}
    POST https://graph.facebook.com/v26.0/3/usersreplace {"payload":{"data":[["d80de76a120a52c4fd2c6d669da8c0e93605087519cb9d656da6a202cea7077c"]],"schema":["EMAIL"]},"session":{"batch_seq":3,"last_batch_flag":true,"session_id":1795165200000000}}
    "#);

    let (other, later) = (Remote(json!({"id": "4"})), started + chrono::TimeDelta::hours(1));
    let other = here.begin_replacing(&session, &other, later).await.unwrap();
    let nobody = here.finish_replacing(&session, &other).await;
    assert!(matches!(nobody, Err(Fault::Misconfigured { .. })), "{nobody:?}");
}

#[tokio::test]
async fn a_full_batch_is_one_request() {
    let made = facebook("");
    let long: &'static str = Box::leak(format!("{}@example.org", "x".repeat(200)).into_boxed_str());
    let user = User { email: long, ..MARA };
    let rows = (0..5_000).map(|_| made.audience(Call::List, user, Change::Entered));
    let said = made.converse(&batch(rows), Vec::new()).await;
    let uploads: Vec<_> =
        said.captured.iter().filter(|request| request.url.ends_with("users")).collect();
    assert_eq!(uploads.len(), 1);
    assert!(uploads[0].body.len() < 1_000_000, "{}", uploads[0].body.len());
}

#[test]
fn options_that_cannot_be_used_are_told() {
    let refused = |more: &str| {
        let text = format!(
            "[destinations.fb]\ntype = \"facebook_custom_audiences\"\naccess_token = \"${{TOKEN}}\"\n{more}"
        );
        told(&configured(&text).err().unwrap())
    };
    let source = "customer_file_source = \"user_provided_only\"\n";
    let shown = [
        format!("ad_account_id = \"x\"\n{source}"),
        format!("ad_account_id = \"1\"\n{source}match_by = [\"emial\"]\n"),
        format!("ad_account_id = \"1\"\n{source}match_by = []\n"),
        format!("ad_account_id = \"1\"\n{source}country = \"Austria\"\n"),
        format!("ad_account_id = \"1\"\n{source}api_version = \"26\"\n"),
        "ad_account_id = \"1\"\ncustomer_file_source = \"mine\"\n".to_owned(),
    ];
    let shown: String = shown.iter().map(|more| refused(more)).collect();
    assert_snapshot!(shown, @r#"
    D03 option `ad_account_id` of destination `fb` is not the number of an ad account ("x") `muster destinations facebook_custom_audiences` shows every option and an example
    D03 option `match_by` of destination `fb` must name at least one of `email`, `phone`, `idfa`, `gaid`, `external_id`, and nothing else (["emial"]) `muster destinations facebook_custom_audiences` shows every option and an example
    D03 option `match_by` of destination `fb` must name at least one of `email`, `phone`, `idfa`, `gaid`, `external_id`, and nothing else ([]) `muster destinations facebook_custom_audiences` shows every option and an example
    D03 option `country` of destination `fb` is not a two-letter country code such as "US" ("Austria") `muster destinations facebook_custom_audiences` shows every option and an example
    D03 option `api_version` of destination `fb` is not a version such as "v26.0" ("26") `muster destinations facebook_custom_audiences` shows every option and an example
    D03 option `customer_file_source` of destination `fb` is not usable: expected one of `user_provided_only`, `partner_provided_only`, `both_user_and_partner_provided` ("mine") `muster destinations facebook_custom_audiences` shows every option and an example
    "#);
}
