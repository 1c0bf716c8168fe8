//! What Campaign Manager 360 is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply};
use crate::destinations::fixture::{Conversation, IVO, MARA, ZOE, batch, configured, told};
use crate::destinations::{Batch, Configured, Fault, Outcome};
use crate::record::{Call, Change};

/// A token, and every conversion is inserted.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
    let count = body["conversions"].as_array().map_or(0, Vec::len);
    match request.method.as_str() {
        "GET" => Reply::json(&json!({"profileId": "1234567"})),
        _ if request.url.ends_with("/token") => {
            Reply::json(&json!({"access_token": "hush-token", "expires_in": 3599}))
        }
        _ => Reply::json(&inserted(&vec![json!({}); count])),
    }
}

fn inserted(status: &[Json]) -> Json {
    let failed = status.iter().any(|one| one["errors"].is_array());
    json!({"hasFailures": failed, "status": status, "kind": "dfareporting#conversionsBatchInsertResponse"})
}

fn written(more: &str) -> String {
    format!(
        "[destinations.dcm]\ntype = \"floodlight\"\nprofile_id = \"1\"\nconfiguration_id = \"2\"\nactivity_id = \"3\"\n\
         ad_user_data = \"granted\"\nclient_id = \"app\"\nclient_secret = \"${{SECRET}}\"\nrefresh_token = \"${{REFRESH}}\"\n{more}"
    )
}

fn floodlight(more: &str) -> Configured {
    configured(&written(more)).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn by_match_id() -> Configured {
    floodlight("identify_by = \"match_id\"\n")
}

fn three(made: &Configured) -> Batch {
    batch([MARA, IVO, ZOE].map(|user| made.audience(Call::Track, user, Change::Entered)))
}

async fn answered(reply: Reply) -> Conversation {
    let made = by_match_id();
    let token = Reply::json(&json!({"access_token": "hush-token"}));
    made.converse(&three(&made), vec![token, reply]).await
}

#[tokio::test]
async fn who_enters_is_a_conversion_with_the_audience_as_a_variable() {
    let made = floodlight(
        "identify_by = \"match_id\"\nexit_activity_id = \"4\"\nunderage = false\nlimit_ad_tracking = true\n\
         variables = { u1 = \"audience_key\", U20 = \"ltv_90d\" }\n",
    );
    let mut shown = String::new();
    for name in ["track", "track exit", "computed"] {
        let said = made.converse(&made.batches()[name], Vec::new()).await;
        shown.push_str(&format!(
            "{name}: {} {}\n",
            said.captured[0].url,
            String::from_utf8_lossy(&said.captured[0].body)
        ));
    }
    assert_snapshot!(shown, @r#"
    track: https://dfareporting.googleapis.com/dfareporting/v5/userprofiles/1/conversions/batchinsert {"conversions":[{"adUserDataConsent":"GRANTED","customVariables":[{"type":"U1","value":"vip"}],"floodlightActivityId":"3","floodlightConfigurationId":"2","limitAdTracking":true,"matchId":"u_8841","ordinal":"755f3838343100000000000000000000","quantity":"1","timestampMicros":"1795165200000000","treatmentForUnderage":false,"value":0}],"kind":"dfareporting#conversionsBatchInsertRequest"}
    track exit: https://dfareporting.googleapis.com/dfareporting/v5/userprofiles/1/conversions/batchinsert {"conversions":[{"adUserDataConsent":"GRANTED","customVariables":[{"type":"U1","value":"vip"}],"floodlightActivityId":"4","floodlightConfigurationId":"2","limitAdTracking":true,"matchId":"u_8842","ordinal":"755f3838343200000000000000000000","quantity":"1","timestampMicros":"1795165200000000","treatmentForUnderage":false,"value":0}],"kind":"dfareporting#conversionsBatchInsertRequest"}
    computed: https://dfareporting.googleapis.com/dfareporting/v5/userprofiles/1/conversions/batchinsert {"conversions":[{"adUserDataConsent":"GRANTED","customVariables":[{"type":"U20","value":"812.4"}],"floodlightActivityId":"3","floodlightConfigurationId":"2","limitAdTracking":true,"matchId":"u_8841","ordinal":"755f3838343100000000000000000000","quantity":"1","timestampMicros":"1795165200000000","treatmentForUnderage":false,"value":0}],"kind":"dfareporting#conversionsBatchInsertRequest"}
    "#);
}

#[tokio::test]
async fn who_leaves_is_not_told_where_nothing_tells_it() {
    let made = by_match_id();
    let said = made.converse(&made.batches()["track exit"], Vec::new()).await;
    assert!(said.captured.is_empty());
    assert_eq!(said.outcomes(), [Outcome::Delivered]);
}

#[tokio::test]
async fn a_device_id_travels_as_issued_and_a_bad_one_is_rejected_alone() {
    let made = floodlight("identify_by = \"mobile_device_id\"\n");
    assert_eq!(made.required, ["mobile_device_id"]);
    let with = |id: &str| made.event_of(MARA, &[("mobile_device_id", id)]);
    let said = made
        .converse(&batch([with("EA7583CD-A667-48BC-B806-42ECB2B48606"), with("none")]), Vec::new())
        .await;
    let body: Json = serde_json::from_slice(&said.captured[0].body).unwrap();
    assert_eq!(body["conversions"][0]["mobileDeviceId"], "EA7583CD-A667-48BC-B806-42ECB2B48606");
    let reason = "not an advertising id".to_owned();
    assert_eq!(said.outcomes(), [Outcome::Delivered, Outcome::Rejected { reason }]);
}

#[tokio::test]
async fn a_reply_says_of_every_conversion_what_became_of_it() {
    let error = |code: &str| json!({"errors": [{"code": code, "message": "No."}]});
    let said = answered(Reply::json(&inserted(&[
        error("INVALID_ARGUMENT"),
        json!({}),
        error("INTERNAL"),
    ])))
    .await;
    assert_eq!(
        said.outcomes(),
        [
            Outcome::Rejected { reason: "INVALID_ARGUMENT: No.".into() },
            Outcome::Delivered,
            Outcome::Retry { after: None, reason: "INTERNAL: No.".into() },
        ]
    );
}

#[tokio::test]
async fn a_reply_that_does_not_cover_the_request_is_not_success() {
    for body in [
        inserted(&[json!({})]),
        json!({"hasFailures": true, "status": []}),
        json!({"hasFailures": true, "status": [{}, {}, {}]}),
        json!({"status": []}),
    ] {
        let said = answered(Reply::json(&body)).await;
        assert!(matches!(said.result, Err(Fault::Protocol { .. })), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_is_used_up_comes_as_403_and_is_waited_for() {
    let started = tokio::time::Instant::now();
    let error = json!({"error": {"code": 403, "message": "Slow down", "errors": [{"domain": "usageLimits", "reason": "userRateLimitExceeded"}]}});
    let said = answered(Reply::status(403, error.to_string())).await;
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    assert!(started.elapsed().as_secs() >= 60);
}

#[tokio::test]
async fn a_value_that_floodlight_does_not_take_is_rejected() {
    let made = floodlight("identify_by = \"match_id\"\nvariables = { u1 = \"ltv_90d\" }\n");
    let odd = [("ltv_90d", json!("a<b"))];
    let row = made.message(Call::Track, MARA, Change::Changed, &odd);
    let said = made.converse(&batch([row]), Vec::new()).await;
    let reason =
        "`ltv_90d` holds a character that Floodlight does not take (a quote, `<`, `>` or `#`)";
    assert_eq!(said.outcomes(), [Outcome::Rejected { reason: reason.into() }]);
}

#[test]
fn options_that_cannot_be_used_are_told() {
    let shown: String = [
        "identify_by = \"match_id\"\nexit_activity_id = \"leave\"\n",
        "identify_by = \"match_id\"\nvariables = { u101 = \"audience_key\" }\n",
        "identify_by = \"email\"\n",
    ]
    .iter()
    .map(|more| {
        let told = told(&configured(&written(more)).err().unwrap());
        told.split(" (").next().unwrap().to_owned() + "\n"
    })
    .collect();
    assert_snapshot!(shown, @r#"
    D03 option `exit_activity_id` of destination `dcm` is not a number
    D03 option `variables` of destination `dcm` holds a name that is not one of `u1` to `u100`
    D03 option `identify_by` of destination `dcm` is not usable: expected one of `mobile_device_id`, `gclid`, `dclid`, `match_id`
    "#);
}
