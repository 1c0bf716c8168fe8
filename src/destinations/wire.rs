//! Exactly what goes over the wire, and what the replies to it mean.

use insta::assert_snapshot;

use super::fixture::{batch, configured, every_kind, identify, receipt, told, track};
use super::{Fault, Outcome};
use crate::delivery::Reply;
use crate::record::Change;

const SEGMENT: &str = "[destinations.segment]\ntype = \"segment\"\nwrite_key = \"${KEY}\"\n";

/// One request per kind of message; headers are shown once, as they are the same for all.
async fn requests(settings: &str) -> String {
    let made = configured(settings).unwrap_or_else(|findings| panic!("{}", told(&findings)));
    let mut shown = String::new();
    for (kind, batch) in every_kind() {
        let wire = made.rehearse(&batch).await;
        let (head, body) = wire.split_once("\n\n").unwrap();
        if shown.is_empty() {
            shown.push_str(head);
        }
        shown.push_str(&format!("\n\n{kind}\n{}", body.trim_end()));
    }
    shown
}

fn webhook(more: &str) -> String {
    format!(
        "[destinations.crm]\ntype = \"webhook\"\nurl = \"https://example.com/hook?a=1\"\n{more}"
    )
}

fn reason(reason: &str) -> String {
    reason.into()
}

#[tokio::test]
async fn webhook_single() {
    let headers = "headers = { Authorization = \"Bearer ${T}\", X-Team = \"growth\", User-Agent = \"muster\" }";
    assert_snapshot!(requests(&webhook(headers)).await, @r#"
    POST https://example.com/hook?a=1
    content-type: application/json
    idempotency-key: 6e1213fa211e54eaa19b1d4fcc71b94a
    authorization: [secret]
    user-agent: muster
    x-team: [secret]

    group
    {"type":"group","messageId":"616363745f3331300000000000000000","timestamp":"2026-11-20T09:00:00Z","groupId":"acct_310","traits":{"seats_used":41},"context":{"personas":{"computation_class":"trait","computation_key":"seats_used"}}}

    identify
    {"type":"identify","messageId":"755f3838343100000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8841","traits":{"ltv_90d":812.4,"email":"mara@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}}

    null
    {"type":"identify","messageId":"755f3838343200000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8842","traits":{"ltv_90d":null},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}}

    several
    {"batch":[{"type":"identify","messageId":"755f3838343100000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8841","traits":{"ltv_90d":812.4,"email":"mara@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}},{"type":"identify","messageId":"755f3838343200000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8842","traits":{"ltv_90d":null},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}},{"type":"identify","messageId":"7a6fc3ab000000000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"zoë","traits":{"city":"Zürich 🏪 \"A\" ","email":"zoë@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"city"}}}]}

    track
    {"type":"track","messageId":"755f3838343100000000000000000000","timestamp":"2026-11-20T09:00:00Z","event":"Audience Entered","userId":"u_8841","properties":{"audience_key":"vip","vip":true},"context":{"traits":{"email":"mara@example.org"},"personas":{"computation_class":"audience","computation_key":"vip"}}}

    unicode
    {"type":"identify","messageId":"7a6fc3ab000000000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"zoë","traits":{"city":"Zürich 🏪 \"A\" ","email":"zoë@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"city"}}}
    "#);
}

#[tokio::test]
async fn webhook_batch() {
    assert_snapshot!(requests(&webhook("batch_size = 3\nmethod = \"PUT\"")).await, @r#"
    PUT https://example.com/hook?a=1
    content-type: application/json
    idempotency-key: 6e1213fa211e54eaa19b1d4fcc71b94a

    group
    {"batch":[{"type":"group","messageId":"616363745f3331300000000000000000","timestamp":"2026-11-20T09:00:00Z","groupId":"acct_310","traits":{"seats_used":41},"context":{"personas":{"computation_class":"trait","computation_key":"seats_used"}}}]}

    identify
    {"batch":[{"type":"identify","messageId":"755f3838343100000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8841","traits":{"ltv_90d":812.4,"email":"mara@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}}]}

    null
    {"batch":[{"type":"identify","messageId":"755f3838343200000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8842","traits":{"ltv_90d":null},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}}]}

    several
    {"batch":[{"type":"identify","messageId":"755f3838343100000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8841","traits":{"ltv_90d":812.4,"email":"mara@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}},{"type":"identify","messageId":"755f3838343200000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8842","traits":{"ltv_90d":null},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}},{"type":"identify","messageId":"7a6fc3ab000000000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"zoë","traits":{"city":"Zürich 🏪 \"A\" ","email":"zoë@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"city"}}}]}

    track
    {"batch":[{"type":"track","messageId":"755f3838343100000000000000000000","timestamp":"2026-11-20T09:00:00Z","event":"Audience Entered","userId":"u_8841","properties":{"audience_key":"vip","vip":true},"context":{"traits":{"email":"mara@example.org"},"personas":{"computation_class":"audience","computation_key":"vip"}}}]}

    unicode
    {"batch":[{"type":"identify","messageId":"7a6fc3ab000000000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"zoë","traits":{"city":"Zürich 🏪 \"A\" ","email":"zoë@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"city"}}}]}
    "#);
}

#[tokio::test]
async fn webhook_array() {
    let made = configured(&webhook("batch_format = \"array\"")).unwrap();
    let wire =
        made.rehearse(&batch([track("u_1", Change::Entered), track("u_2", Change::Exited)])).await;
    assert_snapshot!(wire, @r#"
    POST https://example.com/hook?a=1
    content-type: application/json
    idempotency-key: af4e3b9b532d84de30b4bfca36c42075

    [{"type":"track","messageId":"755f3100000000000000000000000000","timestamp":"2026-11-20T09:00:00Z","event":"Audience Entered","userId":"u_1","properties":{"audience_key":"vip","vip":true},"context":{"traits":{"email":"mara@example.org"},"personas":{"computation_class":"audience","computation_key":"vip"}}},{"type":"track","messageId":"755f3200000000000000000000000000","timestamp":"2026-11-20T09:00:00Z","event":"Audience Exited","userId":"u_2","properties":{"audience_key":"vip","vip":false},"context":{"traits":{"email":"mara@example.org"},"personas":{"computation_class":"audience","computation_key":"vip"}}}]
    "#);
}

#[tokio::test]
async fn webhook_signed() {
    let made = configured(&webhook("signature = { secret = \"${S}\" }")).unwrap();
    assert_snapshot!(made.rehearse(&batch([identify()])).await, @r#"
    POST https://example.com/hook?a=1
    content-type: application/json
    idempotency-key: 50054316402993ae0b7cc5fd72afd873
    x-timestamp: 2026-11-20T09:00:00Z
    x-signature: sha256=92cc787e0a1defbaa174a989b72c3fd01171f416115c2874d5db5e764d361683

    {"type":"identify","messageId":"755f3838343100000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8841","traits":{"ltv_90d":812.4,"email":"mara@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}}
    "#);
    let sha1 = "signature = { secret = \"${S}\", algorithm = \"sha1\", header = \"X-Hub\" }";
    let made = configured(&webhook(sha1)).unwrap();
    assert_snapshot!(made.rehearse(&batch([identify()])).await, @r#"
    POST https://example.com/hook?a=1
    content-type: application/json
    idempotency-key: 50054316402993ae0b7cc5fd72afd873
    x-hub: 8c34a3b6c89d63329680cd3be66ecc5739c22466

    {"type":"identify","messageId":"755f3838343100000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8841","traits":{"ltv_90d":812.4,"email":"mara@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}}
    "#);
}

#[tokio::test]
async fn segment() {
    assert_snapshot!(requests(SEGMENT).await, @r#"
    POST https://api.segment.io/v1/batch
    authorization: [secret]
    content-type: application/json

    group
    {"batch":[{"type":"group","messageId":"616363745f3331300000000000000000","timestamp":"2026-11-20T09:00:00Z","groupId":"acct_310","traits":{"seats_used":41},"context":{"personas":{"computation_class":"trait","computation_key":"seats_used"}},"anonymousId":"acct_310"}]}

    identify
    {"batch":[{"type":"identify","messageId":"755f3838343100000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8841","traits":{"ltv_90d":812.4,"email":"mara@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}}]}

    null
    {"batch":[{"type":"identify","messageId":"755f3838343200000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8842","traits":{"ltv_90d":null},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}}]}

    several
    {"batch":[{"type":"identify","messageId":"755f3838343100000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8841","traits":{"ltv_90d":812.4,"email":"mara@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}},{"type":"identify","messageId":"755f3838343200000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8842","traits":{"ltv_90d":null},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}},{"type":"identify","messageId":"7a6fc3ab000000000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"zoë","traits":{"city":"Zürich 🏪 \"A\" ","email":"zoë@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"city"}}}]}

    track
    {"batch":[{"type":"track","messageId":"755f3838343100000000000000000000","timestamp":"2026-11-20T09:00:00Z","event":"Audience Entered","userId":"u_8841","properties":{"audience_key":"vip","vip":true},"context":{"traits":{"email":"mara@example.org"},"personas":{"computation_class":"audience","computation_key":"vip"}}}]}

    unicode
    {"batch":[{"type":"identify","messageId":"7a6fc3ab000000000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"zoë","traits":{"city":"Zürich 🏪 \"A\" ","email":"zoë@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"city"}}}]}
    "#);
}

#[tokio::test]
async fn segment_elsewhere() {
    let address = |wire: String| wire.lines().next().unwrap_or_default().to_owned();
    let europe = configured(&format!("{SEGMENT}region = \"eu\"\n")).unwrap();
    assert_snapshot!(address(europe.rehearse(&batch([identify()])).await), @"POST https://events.eu1.segmentapis.com/v1/batch");
    let proxy = configured(&format!("{SEGMENT}base_url = \"http://127.0.0.1:9/v1\"\n")).unwrap();
    assert_snapshot!(address(proxy.rehearse(&batch([identify()])).await), @"POST http://127.0.0.1:9/v1/batch");
}

#[tokio::test]
async fn rudderstack() {
    let settings = "[destinations.rudder]\ntype = \"rudderstack\"\nwrite_key = \"${KEY}\"\n\
                    data_plane_url = \"https://dp.example.net\"\n";
    assert_snapshot!(requests(settings).await, @r#"
    POST https://dp.example.net/v1/batch
    authorization: [secret]
    content-type: application/json

    group
    {"batch":[{"type":"group","messageId":"616363745f3331300000000000000000","timestamp":"2026-11-20T09:00:00Z","groupId":"acct_310","traits":{"seats_used":41},"context":{"personas":{"computation_class":"trait","computation_key":"seats_used"}},"anonymousId":"acct_310"}]}

    identify
    {"batch":[{"type":"identify","messageId":"755f3838343100000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8841","traits":{"ltv_90d":812.4,"email":"mara@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}}]}

    null
    {"batch":[{"type":"identify","messageId":"755f3838343200000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8842","traits":{"ltv_90d":null},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}}]}

    several
    {"batch":[{"type":"identify","messageId":"755f3838343100000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8841","traits":{"ltv_90d":812.4,"email":"mara@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}},{"type":"identify","messageId":"755f3838343200000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8842","traits":{"ltv_90d":null},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}},{"type":"identify","messageId":"7a6fc3ab000000000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"zoë","traits":{"city":"Zürich 🏪 \"A\" ","email":"zoë@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"city"}}}]}

    track
    {"batch":[{"type":"track","messageId":"755f3838343100000000000000000000","timestamp":"2026-11-20T09:00:00Z","event":"Audience Entered","userId":"u_8841","properties":{"audience_key":"vip","vip":true},"context":{"traits":{"email":"mara@example.org"},"personas":{"computation_class":"audience","computation_key":"vip"}}}]}

    unicode
    {"batch":[{"type":"identify","messageId":"7a6fc3ab000000000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"zoë","traits":{"city":"Zürich 🏪 \"A\" ","email":"zoë@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"city"}}}]}
    "#);
}

#[tokio::test]
async fn file() {
    let settings = "[destinations.files]\ntype = \"file\"\n";
    assert_snapshot!(requests(settings).await, @r#"
    APPEND file:///project/out/vip.crm.run17.ndjson

    group
    {"type":"group","messageId":"616363745f3331300000000000000000","timestamp":"2026-11-20T09:00:00Z","groupId":"acct_310","traits":{"seats_used":41},"context":{"personas":{"computation_class":"trait","computation_key":"seats_used"}}}

    identify
    {"type":"identify","messageId":"755f3838343100000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8841","traits":{"ltv_90d":812.4,"email":"mara@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}}

    null
    {"type":"identify","messageId":"755f3838343200000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8842","traits":{"ltv_90d":null},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}}

    several
    {"type":"identify","messageId":"755f3838343100000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8841","traits":{"ltv_90d":812.4,"email":"mara@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}}
    {"type":"identify","messageId":"755f3838343200000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"u_8842","traits":{"ltv_90d":null},"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}}}
    {"type":"identify","messageId":"7a6fc3ab000000000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"zoë","traits":{"city":"Zürich 🏪 \"A\" ","email":"zoë@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"city"}}}

    track
    {"type":"track","messageId":"755f3838343100000000000000000000","timestamp":"2026-11-20T09:00:00Z","event":"Audience Entered","userId":"u_8841","properties":{"audience_key":"vip","vip":true},"context":{"traits":{"email":"mara@example.org"},"personas":{"computation_class":"audience","computation_key":"vip"}}}

    unicode
    {"type":"identify","messageId":"7a6fc3ab000000000000000000000000","timestamp":"2026-11-20T09:00:00Z","userId":"zoë","traits":{"city":"Zürich 🏪 \"A\" ","email":"zoë@example.org"},"context":{"personas":{"computation_class":"trait","computation_key":"city"}}}
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_webhook_may_answer_row_by_row() {
    let made = configured(&webhook("batch_size = 3\nheaders = { X-Key = \"${T}\" }")).unwrap();
    let body = r#"{"results":[
        {"index":0,"status":"ok"},
        {"index":1,"status":"error","retryable":true,"message":"busy"},
        {"index":2,"status":"error","message":"no such user for hush-T"}]}"#;
    let several = every_kind().remove("several").unwrap();
    for status in [200, 207] {
        let (result, _) = made.deliver(&several, vec![Reply::status(status, body)]).await;
        assert_eq!(
            receipt(result.unwrap()).into_outcomes(),
            [
                Outcome::Delivered,
                Outcome::Retry { after: None, reason: reason("busy") },
                Outcome::Rejected { reason: reason("no such user for [secret]") },
            ]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_names_rows_it_never_got_is_not_believed() {
    let made = configured(&webhook("")).unwrap();
    for body in [
        r#"{"results":[{"index":1,"status":"error"}]}"#,
        r#"{"results":[{"status":"error","message":"which?"}]}"#,
    ] {
        let (result, _) = made.deliver(&batch([identify()]), vec![Reply::status(200, body)]).await;
        assert!(matches!(result, Err(Fault::Protocol { .. })), "{result:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn statuses_of_a_tracking_api_say_what_must_happen_next() {
    let made = configured(SEGMENT).unwrap();
    let word = async |status: u16| {
        let replies = vec![Reply::status(status, ""); 100];
        match made.deliver(&batch([identify()]), replies).await.0 {
            Ok(_) => "delivered",
            Err(Fault::Rejected { .. }) => "rejected",
            Err(Fault::Denied { .. }) => "denied",
            Err(Fault::Misconfigured { .. }) => "misconfigured",
            Err(_) => "later",
        }
    };
    for (status, meaning) in [
        (200, "delivered"),
        (400, "rejected"),
        (413, "rejected"),
        (401, "denied"),
        (404, "misconfigured"),
        (429, "later"),
        (503, "later"),
    ] {
        assert_eq!(word(status).await, meaning, "{status}");
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let settings = "[destinations.crm]\ntype = \"webhook\"\nurl = \"example.com\"\nmethod = \"PSOT\"\n\
                    rate_limt = 3\nbatch_size = 0\ntimeout = 30\nretry = { atempts = 3 }\n\
                    signature = { algorithm = \"sha256\" }\nheaders = { A = 5 }\n";
    assert_snapshot!(told(&configured(settings).err().unwrap()), @r#"
    D02 destination `crm` has no option `rate_limt` (3) did you mean `rate_limit`?
    D03 option `batch_size` of destination `crm` is not usable: expected a whole number of at least 1 (0) `muster destinations webhook` shows every option and an example
    D02 destination `crm` has no option `retry.atempts` ({ atempts = 3 }) did you mean `attempts`?
    D03 option `timeout` of destination `crm` is not usable: expected a length of time such as "30s", "10m" or "6h" (30) `muster destinations webhook` shows every option and an example
    D03 option `headers.A` of destination `crm` is not usable: expected a string ({ A = 5 }) `muster destinations webhook` shows every option and an example
    D03 option `method` of destination `crm` is not usable: expected one of `POST`, `PUT`, `PATCH` ("PSOT") did you mean `POST`?
    D03 option `signature` of destination `crm` is not usable: missing field `secret` ({ algorithm = "sha256" }) `muster destinations webhook` shows every option and an example
    D03 option `url` of destination `crm` is not usable: expected an http or https address without user and password, such as "https://example.com/hook" ("example.com") `muster destinations webhook` shows every option and an example
    "#);
}

#[test]
fn what_is_missing_or_impossible_is_told() {
    let cases = [
        "[destinations.crm]\ntype = \"webhok\"\n",
        "[destinations.s]\ntype = \"segment\"\nregion = \"mars\"\n",
        "[destinations.s]\ntype = \"segment\"\nwrite_key = \"${K}\"\nbatch_size = 3000\n",
        "[destinations.r]\ntype = \"rudderstack\"\nwrite_key = \"${K}\"\n",
        "[destinations.r]\ntype = \"rudderstack\"\nwrite_key = \"\"\n",
        "[destinations.f]\ntype = \"file\"\nrate_limit = 3\n",
        "[destinations.w]\ntype = \"webhook\"\nurl = \"https://e.com\"\nheaders = { Host = \"a\" }\n",
    ];
    let findings: String =
        cases.iter().map(|settings| told(&configured(settings).err().unwrap())).collect();
    assert_snapshot!(findings, @r#"
    D01 destination `crm` is of type `webhok`, which does not exist ("webhok") did you mean `webhook`?
    D06 destination `s` lacks its option `write_key` ("segment") `muster destinations segment` shows a working example
    D03 option `region` of destination `s` is not usable: expected `us` or `eu` ("mars") `muster destinations segment` shows every option and an example
    D03 option `batch_size` of destination `s` is 3000; Segment takes at most 2500 messages (3000) write `batch_size = 2500` or less
    D03 option `data_plane_url` of destination `r` is missing ("rudderstack") write `data_plane_url = "https://…"`
    D03 option `write_key` of destination `r` is not usable: expected a text that is not empty ("") `muster destinations rudderstack` shows every option and an example
    D02 destination `f` has no option `rate_limit` (3) -
    D03 option `headers` of destination `w` names `Host`, which follows from the request itself ({ Host = "a" }) `muster destinations webhook` shows every option and an example
    "#);
}

#[test]
fn what_works_but_is_doubtful_is_warned_of() {
    let fast = format!("{SEGMENT}rate_limit = 2000\nbase_url = \"http://proxy.example.com\"\n");
    assert_snapshot!(told(&configured(&fast).unwrap().warnings), @r#"
    D05 option `base_url` of destination `segment` sends personal data and credentials unencrypted ("http://proxy.example.com") use `https://`
    D04 `rate_limit` of destination `segment` is 2000 requests per second; the documented limit of Segment is 1000 (2000) keep it only if the vendor has granted you more
    "#);
    let local = format!("{SEGMENT}rate_limit = 1000\nbase_url = \"http://localhost:1\"\n");
    assert!(configured(&local).unwrap().warnings.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_webhook_may_ask_for_its_tokens() {
    let oauth = "oauth = { token_url = \"https://login.example.com/token\", client_id = \"muster\", \
                 client_secret = \"${SECRET}\", scope = \"events\" }";
    let made = configured(&webhook(oauth)).unwrap();
    let token =
        || Reply::json(&serde_json::json!({"access_token": "hush-token", "expires_in": 60}));
    let replies = vec![token(), Reply::status(401, ""), token(), Reply::status(200, "")];
    let said = made.converse(&batch([identify()]), replies).await;
    assert_eq!(said.result, Ok(vec![Outcome::Delivered]));
    let asked = &said.captured[1];
    assert_eq!(asked.url, "https://login.example.com/token");
    assert_eq!(
        asked.body,
        "grant_type=client_credentials&client_id=muster&client_secret=[secret]&scope=events"
    );
    assert!(!format!("{:?}", said.captured).contains("hush-"));
}

#[test]
fn a_token_that_nothing_pays_for_is_refused() {
    let of = |more: &str| {
        format!("oauth = {{ token_url = \"https://login.example.com\", client_id = \"m\"{more} }}")
    };
    let cases =
        ["", ", refresh_token = \"${R}\", private_key = \"${K}\"", ", private_key = \"${K}\""];
    let findings: String = cases
        .map(|more| told(&configured(&webhook(&of(more))).err().unwrap()))
        .concat()
        .lines()
        .filter_map(|line| Some(line.split_once(" (")?.0.to_owned() + "\n"))
        .collect();
    assert_snapshot!(findings, @r"
    D03 option `oauth` of destination `crm` needs `client_secret`, `refresh_token` or `private_key`, and no other of them but a `client_secret` beside a `refresh_token`
    D03 option `oauth` of destination `crm` needs `client_secret`, `refresh_token` or `private_key`, and no other of them but a `client_secret` beside a `refresh_token`
    D03 option `oauth` of destination `crm` holds a `private_key` that is not a private key in PEM
    ");
}
