//! What Google is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{
    Conversation, IVO, MARA, User, ZOE, batch, configured, target, told,
};
use crate::destinations::{
    Batch, Configured, Delivery, Fault, Job, Notice, Outcome, Remote, Settlement, Target,
};
use crate::record::{Call, Change};

/// A token, one list, and every request is applied at once.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let url = url::Url::parse(&request.url).unwrap();
    let list = json!({"id": "987654321", "displayName": "VIP", "ingestedUserListInfo": {"uploadKeyTypes": ["CONTACT_ID"]}});
    match (request.method.as_str(), url.path()) {
        (_, "/token") => Reply::json(&json!({"access_token": "hush-token", "expires_in": 3599})),
        ("GET", path) if path.ends_with("/userLists") => Reply::json(&json!({"userLists": [list]})),
        ("POST", path) if path.ends_with("/userLists") => Reply::json(&list),
        ("GET", "/v1/requestStatus:retrieve") => Reply::json(&done("SUCCESS", &json!({}))),
        ("GET", _) => Reply::json(&list),
        _ => Reply::json(&json!({"requestId": format!("req-{}", url.path().len())})),
    }
}

fn done(status: &str, more: &Json) -> Json {
    let mut one = json!({ "requestStatus": status });
    for (name, value) in more.as_object().unwrap() {
        one[name] = value.clone();
    }
    json!({"requestStatusPerDestination": [one]})
}

fn errors(counts: &[(&str, &str)]) -> Json {
    let counts: Vec<_> =
        counts.iter().map(|(count, reason)| json!({"recordCount": count, "reason": format!("PROCESSING_ERROR_REASON_{reason}")})).collect();
    json!({"errorInfo": {"errorCounts": counts}})
}

const CREDENTIALS: &str =
    "client_id = \"app\"\nclient_secret = \"${SECRET}\"\nrefresh_token = \"${REFRESH}\"\n";
const CONSENT: &str = "consent = { ad_user_data = \"granted\", ad_personalization = \"denied\" }\n";

fn written(more: &str) -> String {
    format!(
        "[destinations.ads]\ntype = \"google_ads_customer_match\"\ncustomer_id = \"444-555-6666\"\nterms_accepted = true\n{more}"
    )
}

fn google(more: &str) -> Configured {
    let text = written(&format!("{CREDENTIALS}{CONSENT}{more}"));
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn mixed(made: &Configured) -> Batch {
    let gmail = User { email: " Ada.Lovelace+vip@Gmail.com ", ..MARA };
    batch([
        made.audience(Call::List, gmail, Change::Entered),
        made.audience(Call::List, ZOE, Change::Exited),
        made.audience(Call::List, IVO, Change::Entered),
    ])
}

/// Replies in the place of those to the questions after the removal and the ingestion.
async fn asked(replies: Vec<Json>) -> Conversation {
    let made = google("");
    let session = Session::served(&made.terms(), Vec::new(), server);
    let list = Remote(json!({"id": "987654321"}));
    let members = mixed(&made);
    let delivery = made.destination.deliver(&session, &list, &members).await.unwrap();
    let Delivery::Submitted(job) = delivery else { panic!("not submitted") };
    // What the journal keeps is all that the next process has.
    let job: Job = serde_json::from_str(&serde_json::to_string(&job).unwrap()).unwrap();
    let token = json!({"access_token": "hush-token"});
    let replies = [token].into_iter().chain(replies).map(|reply| Reply::json(&reply)).collect();
    let session = Session::scripted(&made.terms(), replies);
    let result = match made.destination.settle(&session, &job, 3).await {
        Ok(Settlement::Done(receipt)) => Ok(receipt),
        Ok(Settlement::Running { poll_after }) => {
            Err(Fault::Transient { reason: format!("again in {poll_after:?}") })
        }
        Err(fault) => Err(fault),
    };
    let notices = result.as_ref().map_or(Vec::new(), |receipt| receipt.notices().to_vec());
    let result = result.map(|receipt| receipt.into_outcomes());
    Conversation { result, notices, remote: list, captured: session.captured() }
}

#[tokio::test]
async fn who_leaves_is_removed_and_who_enters_is_ingested_and_both_are_asked_after() {
    let made = google("login_customer_id = \"1112223333\"\n");
    let said = made.converse(&mixed(&made), Vec::new()).await;
    assert_snapshot!(said.wire(), @r#"
    GET https://datamanager.googleapis.com/v1/accountTypes/GOOGLE_ADS/accounts/4445556666/userLists?filter=display_name+%3D+%22VIP%22&pageSize=1000
    POST https://oauth2.googleapis.com/token grant_type=refresh_token&client_id=app&refresh_token=[secret]&client_secret=[secret]
    POST https://datamanager.googleapis.com/v1/audienceMembers:remove {"audienceMembers":[{"userData":{"userIdentifiers":[{"emailAddress":"a7165e860eff27cf3d5a6e7c85246f8843dddd9b1e5943efa69bda4bb765ebb8"},{"phoneNumber":"4d0f86e75ba2d12aa51b472305eba1d3e2cd01237060692a98069ff9281b2baa"}]}}],"destinations":[{"loginAccount":{"accountId":"1112223333","accountType":"GOOGLE_ADS"},"operatingAccount":{"accountId":"4445556666","accountType":"GOOGLE_ADS"},"productDestinationId":"987654321"}],"encoding":"HEX"}
    POST https://datamanager.googleapis.com/v1/audienceMembers:ingest {"audienceMembers":[{"userData":{"userIdentifiers":[{"emailAddress":"cd98a25152ad884b29e524ea5d3d8d35615ed0afbbc5ea3a6d4215572b0b2bde"},{"phoneNumber":"fc51698b656fe76a0500433e4b4eeaf281900d534a48751331a03a1f88434019"}]}},{"userData":{"userIdentifiers":[{"emailAddress":"d80de76a120a52c4fd2c6d669da8c0e93605087519cb9d656da6a202cea7077c"},{"phoneNumber":"fc51698b656fe76a0500433e4b4eeaf281900d534a48751331a03a1f88434019"}]}}],"consent":{"adPersonalization":"CONSENT_DENIED","adUserData":"CONSENT_GRANTED"},"destinations":[{"loginAccount":{"accountId":"1112223333","accountType":"GOOGLE_ADS"},"operatingAccount":{"accountId":"4445556666","accountType":"GOOGLE_ADS"},"productDestinationId":"987654321"}],"encoding":"HEX","termsOfService":{"customerMatchTermsOfServiceStatus":"ACCEPTED"}}
    GET https://datamanager.googleapis.com/v1/requestStatus:retrieve?requestId=req-26
    GET https://datamanager.googleapis.com/v1/requestStatus:retrieve?requestId=req-26
    "#);
    let login =
        said.captured.last().unwrap().headers.iter().find(|(name, _)| name == "login-account");
    assert_eq!(login.unwrap().1, "accountTypes/GOOGLE_ADS/accounts/1112223333");
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn a_service_account_signs_for_its_token() {
    let key = include_str!("../oauth/test_key.pem").replace('\n', "\\\\n");
    let text = written(&format!(
        "{CONSENT}service_account = \"muster@acme.example\"\nprivate_key = \"{key}\"\nbase_url = \"http://127.0.0.1:9/google\"\n"
    ));
    let made = configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)));
    let session = Session::served(
        &made.terms(),
        vec![Reply::json(&json!({"access_token": "hush-token"})), Reply::json(&json!({}))],
        server,
    );
    made.destination.check(&session).await.unwrap();
    let mut urls = session.captured().into_iter().map(|request| request.url).collect::<Vec<_>>();
    urls.sort();
    assert_eq!(
        urls,
        [
            "http://127.0.0.1:9/google/token",
            "http://127.0.0.1:9/google/v1/accountTypes/GOOGLE_ADS/accounts/4445556666/userLists?pageSize=1",
        ]
    );
}

#[tokio::test]
async fn an_address_travels_only_as_a_whole_and_only_when_asked_for() {
    let made = google("send_address = true\nmatch_by = [\"email\"]\n");
    let whole = [
        ("first_name", " Mrs. Ada"),
        ("last_name", "O'Neil Jr."),
        ("country", "us"),
        ("zip", "94105"),
    ];
    let members = batch([
        made.member(MARA, Change::Entered, &[], &whole),
        made.member(IVO, Change::Entered, &[], &whole[..3]),
    ]);
    let said = made.converse(&members, Vec::new()).await;
    let body: Json = serde_json::from_slice(&said.captured[2].body).unwrap();
    // Twice, since `o'neil` and `oneil` are two hashes, and Google asks for both in two places.
    assert_snapshot!(body["audienceMembers"], @r#"[{"userData":{"userIdentifiers":[{"emailAddress":"fea464bda05242064372e66ecb3e93c8fe125948c626059f5f0c17807ee108a9"},{"address":{"familyName":"eb1aed4f494ca276a88d3161252e48e0fe703f32666fe44fe4652f660b82cda4","givenName":"fdee430d40bd57deeac186cd9790033d0f06f909a8806e7ce6e717ab7c7d5029","postalCode":"94105","regionCode":"US"}},{"address":{"familyName":"67a42a846e98e3c1a96cd6ba14883a5ea05990cd93964ce8b832aa9497ca785c","givenName":"fdee430d40bd57deeac186cd9790033d0f06f909a8806e7ce6e717ab7c7d5029","postalCode":"94105","regionCode":"US"}}]}},{"userData":{"userIdentifiers":[{"emailAddress":"d80de76a120a52c4fd2c6d669da8c0e93605087519cb9d656da6a202cea7077c"}]}}]"#);
    let plain = [("first_name", "Ada"), ("last_name", "Lovelace"), whole[2], whole[3]];
    let said =
        made.converse(&batch([made.member(MARA, Change::Entered, &[], &plain)]), Vec::new()).await;
    assert_eq!(String::from_utf8_lossy(&said.captured[2].body).matches("\"address\"").count(), 1);
    // The country of people whose profile names none completes it.
    let made = google("send_address = true\ncountry = \"us\"\n");
    let parts = [whole[0], whole[1], ("country", ""), whole[3]];
    let said =
        made.converse(&batch([made.member(MARA, Change::Entered, &[], &parts)]), Vec::new()).await;
    assert!(String::from_utf8_lossy(&said.captured[2].body).contains("\"regionCode\":\"US\""));
    let made = google("match_by = [\"email\"]\n");
    let said =
        made.converse(&batch([made.member(MARA, Change::Entered, &[], &whole)]), Vec::new()).await;
    assert!(!String::from_utf8_lossy(&said.captured[2].body).contains("address\""));
}

#[tokio::test]
async fn lists_of_other_kinds_take_plain_ids() {
    let ids = [("idfa", "EA7583CD-A667-48BC-B806-42ECB2B48606"), ("external_id", "crm-17")];
    let mut shown = String::new();
    for more in ["key = \"ios\"\napp_id = \"id284\"\n", "key = \"user_id\"\n"] {
        let made = google(more);
        let replies = vec![
            Reply::json(&json!({"access_token": "hush-token"})),
            Reply::json(&json!({})),
            Reply::json(&json!({"id": "55"})),
        ];
        let said =
            made.converse(&batch([made.member(MARA, Change::Entered, &ids, &[])]), replies).await;
        for request in &said.captured[2..4] {
            shown.push_str(&format!("{}\n", String::from_utf8_lossy(&request.body)));
        }
        assert_eq!(said.remote.0, json!({"id": "55"}));
    }
    assert_snapshot!(shown, @r#"
    {"displayName":"VIP","ingestedUserListInfo":{"mobileIdInfo":{"appId":"id284","dataSourceType":"DATA_SOURCE_TYPE_FIRST_PARTY","keySpace":"IOS"},"uploadKeyTypes":["MOBILE_ID"]},"membershipDuration":"46656000s"}
    {"audienceMembers":[{"mobileData":{"mobileIds":["ea7583cd-a667-48bc-b806-42ecb2b48606"]}}],"consent":{"adPersonalization":"CONSENT_DENIED","adUserData":"CONSENT_GRANTED"},"destinations":[{"operatingAccount":{"accountId":"4445556666","accountType":"GOOGLE_ADS"},"productDestinationId":"55"}],"termsOfService":{"customerMatchTermsOfServiceStatus":"ACCEPTED"}}
    {"displayName":"VIP","ingestedUserListInfo":{"uploadKeyTypes":["USER_ID"],"userIdInfo":{"dataSourceType":"DATA_SOURCE_TYPE_FIRST_PARTY"}},"membershipDuration":"46656000s"}
    {"audienceMembers":[{"userIdData":{"userId":"crm-17"}}],"consent":{"adPersonalization":"CONSENT_DENIED","adUserData":"CONSENT_GRANTED"},"destinations":[{"operatingAccount":{"accountId":"4445556666","accountType":"GOOGLE_ADS"},"productDestinationId":"55"}],"termsOfService":{"customerMatchTermsOfServiceStatus":"ACCEPTED"}}
    "#);
}

#[tokio::test]
async fn a_name_that_was_taken_meanwhile_is_adopted() {
    let made = google("");
    let taken = json!({"error": {"code": 400, "details": [{"fieldViolations": [{"field": "display_name", "reason": "DISPLAY_NAME_ALREADY_USED"}]}]}});
    let list = json!({"id": "12", "displayName": "VIP", "ingestedUserListInfo": {"uploadKeyTypes": ["CONTACT_ID"]}});
    let session = Session::scripted(
        &made.terms(),
        vec![
            Reply::json(&json!({"access_token": "hush-token"})),
            Reply::json(&json!({})),
            Reply::status(400, taken.to_string()),
            Reply::json(&json!({"userLists": [list]})),
        ],
    );
    let remote = made.destination.open(&session, &target()).await.unwrap();
    assert_eq!(remote.0, json!({"id": "12"}));
}

#[tokio::test]
async fn a_list_of_another_kind_is_not_adopted() {
    let made = google("");
    let list = json!({"id": "9876543", "displayName": "VIP", "ingestedUserListInfo": {"uploadKeyTypes": ["MOBILE_ID"]}});
    let by_name = Reply::json(&json!({"userLists": [list]}));
    for (named, reply) in [(None, by_name), (Some("9876543".to_owned()), Reply::json(&list))] {
        let token = Reply::json(&json!({"access_token": "hush-token"}));
        let session = Session::scripted(&made.terms(), vec![token, reply]);
        let target = Target { list: named, ..target() };
        let fault = made.destination.open(&session, &target).await.unwrap_err();
        assert_eq!(
            fault.to_string(),
            "misconfigured: the list `9876543` cannot be used: it does not take members by `CONTACT_ID`"
        );
    }
}

#[tokio::test]
async fn a_job_that_is_not_done_is_asked_after_again() {
    for reply in [done("PROCESSING", &json!({})), json!({"requestStatusPerDestination": []})] {
        let said = asked(vec![done("SUCCESS", &json!({})), reply]).await;
        assert_eq!(said.result, Err(Fault::Transient { reason: "again in 60s".into() }));
    }
}

#[tokio::test]
async fn records_that_could_not_be_used_are_told_as_counts() {
    let removed = done("PARTIAL_SUCCESS", &errors(&[("1", "INVALID_FORMAT")]));
    let mut ingested = errors(&[("1", "DENIED_CONSENT"), ("1", "NO_CONSENT")]);
    ingested["warningInfo"] = json!({"warningCounts": [{"recordCount": 1, "reason": "PROCESSING_WARNING_REASON_KEK_PERMISSION_DENIED"}]});
    let said = asked(vec![removed, done("PARTIAL_SUCCESS", &ingested)]).await;
    let notice = |reason: &str| Notice { count: 1, reason: reason.into() };
    assert_eq!(
        said.notices,
        [
            notice("invalid format"),
            notice("denied consent"),
            notice("no consent"),
            notice("warning: kek permission denied"),
        ]
    );
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn a_request_that_failed_as_a_whole_concerns_its_own_rows_only() {
    let well = || done("SUCCESS", &json!({}));
    let failed = done("FAILED", &errors(&[("2", "NO_CONSENT")]));
    let said = asked(vec![well(), failed]).await;
    let reason = "the request failed as a whole: no consent".to_owned();
    let refused = Outcome::Rejected { reason };
    assert_eq!(said.outcomes(), [refused.clone(), Outcome::Delivered, refused]);

    let failed = done("FAILED", &errors(&[("1", "INTERNAL_ERROR")]));
    let said = asked(vec![failed, well()]).await;
    let reason = "the request failed as a whole: internal error".to_owned();
    let again = Outcome::Retry { after: None, reason };
    assert_eq!(said.outcomes(), [Outcome::Delivered, again, Outcome::Delivered]);
}

#[tokio::test]
async fn a_request_that_google_has_forgotten_leaves_its_own_rows_unsettled() {
    let made = google("");
    let job = |removal: Option<&str>| Job {
        handle: json!({"removal": removal, "ingestion": "req-2", "leaving": [1]}),
        poll_after: std::time::Duration::ZERO,
    };
    let token = || Reply::json(&json!({"access_token": "hush-token"}));
    let unknown = json!({"error": {"code": 400, "details": [{"fieldViolations": [{"field": "request_id", "reason": "INVALID_REQUEST_ID"}]}]}});
    for gone in [Reply::status(400, unknown.to_string()), Reply::status(404, "{}")] {
        let well = Reply::json(&done("SUCCESS", &json!({})));
        let session = Session::scripted(&made.terms(), vec![token(), well, gone]);
        let settled = made.destination.settle(&session, &job(Some("req-1")), 3).await.unwrap();
        let Settlement::Done(receipt) = settled else { panic!("still running") };
        let outcomes = receipt.into_outcomes();
        assert_eq!(outcomes[1], Outcome::Delivered);
        for own in [&outcomes[0], &outcomes[2]] {
            assert!(matches!(own, Outcome::Unsettled { .. }), "{own:?}");
        }
    }
}

#[tokio::test]
async fn a_status_that_is_not_known_is_not_success() {
    for reply in [done("FINE", &json!({})), done("PARTIAL_SUCCESS", &errors(&[("many", "X")]))] {
        let said = asked(vec![reply]).await;
        assert!(matches!(said.result, Err(Fault::Protocol { .. })), "{:?}", said.result);
    }
}

#[tokio::test]
async fn a_replacement_removes_whoever_was_not_added_since_it_began() {
    let made = google("");
    let session = Session::served(&made.terms(), Vec::new(), server);
    let started = chrono::DateTime::from_timestamp(1_795_165_200, 0).unwrap();
    let (here, list) = (&made.destination, Remote(json!({"id": "987654321"})));
    let list = here.begin_replacing(&session, &list, started).await.unwrap();
    here.deliver(&session, &list, &made.several()).await.unwrap();
    here.finish_replacing(&session, &list).await.unwrap();
    let captured = session.captured();
    let added = captured.iter().filter(|request| request.url.ends_with(":ingest"));
    assert!(String::from_utf8_lossy(&added.last().unwrap().body).contains("987654321"));
    let last = captured.last().unwrap();
    assert_snapshot!(format!("{} {}", last.url, String::from_utf8_lossy(&last.body)), @r#"https://datamanager.googleapis.com/v1/audienceMembers:removeAll {"destinations":[{"operatingAccount":{"accountId":"4445556666","accountType":"GOOGLE_ADS"},"productDestinationId":"987654321"}],"removeAsOfTime":"2026-11-20T08:55:00Z"}"#);
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_renewed() {
    let made = google("");
    let token = |text: &str| Reply::json(&json!({ "access_token": text }));
    let replies = vec![token("old"), Reply::status(401, "{}"), token("new")];
    let said = made.converse(&made.several(), replies).await;
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn a_full_batch_is_one_request() {
    let made = google("");
    let rows = (0..10_000).map(|_| made.audience(Call::List, MARA, Change::Entered));
    let said = made.converse(&batch(rows), Vec::new()).await;
    let sent: Vec<_> =
        said.captured.iter().filter(|request| request.url.ends_with(":ingest")).collect();
    assert_eq!(sent.len(), 1);
    let body: Json = serde_json::from_slice(&sent[0].body).unwrap();
    assert_eq!(body["audienceMembers"].as_array().unwrap().len(), 10_000);
}

#[test]
fn options_that_cannot_be_used_are_told() {
    let refused = |more: &str| {
        told(&configured(&written(more)).err().unwrap_or_else(|| panic!("{more}")))
            .lines()
            .map(|line| line.split(" (").next().unwrap_or_default().to_owned() + "\n")
            .collect::<String>()
    };
    let shown: String = [
        format!("{CONSENT}client_id = \"app\"\n"),
        format!("{CONSENT}{CREDENTIALS}private_key = \"${{KEY}}\"\n"),
        format!("{CONSENT}service_account = \"a@b\"\nprivate_key = \"${{KEY}}\"\n"),
        format!("{CONSENT}{CREDENTIALS}membership_days = 541\n"),
        format!("{CONSENT}{CREDENTIALS}key = \"ios\"\nmatch_by = [\"email\"]\n"),
        format!("{CONSENT}{CREDENTIALS}login_customer_id = \"boss\"\n"),
        format!("{CREDENTIALS}consent = {{ ad_user_data = \"granted\" }}\n"),
        CREDENTIALS.to_owned(),
    ]
    .iter()
    .map(|more| refused(more))
    .collect();
    assert_snapshot!(shown, @r#"
    D03 option `refresh_token` of destination `ads` must stand with `client_id` and `client_secret`, or in place of all three `service_account` with `private_key`
    D03 option `refresh_token` of destination `ads` must stand with `client_id` and `client_secret`, or in place of all three `service_account` with `private_key`
    D03 option `private_key` of destination `ads` is not a private key in PEM
    D03 option `membership_days` of destination `ads` is not a number from 1 to 540
    D03 option `match_by` of destination `ads` has no meaning beside this `key`, which says what people are matched by
    D03 option `login_customer_id` of destination `ads` is not the number of an account, such as "444-555-6666"
    D03 option `consent` of destination `ads` is not usable: missing field `ad_personalization`
    D06 destination `ads` lacks its option `consent`
    "#);
    let text = written(&format!("{CONSENT}{CREDENTIALS}")).replace("= true", "= false");
    assert!(told(&configured(&text).err().unwrap()).contains("must be true"));
}

#[test]
fn members_are_forgotten_when_the_project_says() {
    let days = |made: Configured| made.forgets.unwrap().as_secs() / 86_400;
    assert_eq!([days(google("")), days(google("membership_days = 30\n"))], [540, 30]);
}
