//! What the Conversions API is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply};
use crate::destinations::fixture::{MARA, batch, configured, told};
use crate::destinations::{Configured, Fault, Notice, Outcome};
use crate::record::{Call, Change};

/// Every event is received.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
    let events = body["data"].as_array().map_or(0, Vec::len);
    match request.method.as_str() {
        "GET" => Reply::json(&json!({"id": "1234567890"})),
        _ => Reply::json(&received(events)),
    }
}

fn received(events: usize) -> Json {
    json!({"events_received": events, "messages": [], "fbtrace_id": "AbC"})
}

fn pixel(more: &str) -> Configured {
    let text = format!(
        "[destinations.fb]\ntype = \"facebook_website\"\naccess_token = \"${{TOKEN}}\"\npixel_id = \"77\"\n{more}"
    );
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn of_all_uses() -> Configured {
    pixel("data_processing_options = []\n")
}

#[tokio::test]
async fn who_enters_and_who_leaves_is_told_as_an_event() {
    let made = of_all_uses();
    let mut shown = String::new();
    for name in ["track", "track exit", "computed"] {
        let said = made.converse(&made.batches()[name], Vec::new()).await;
        shown.push_str(&format!("{name}: {}", said.wire()));
    }
    assert_snapshot!(shown, @r#"
    track: POST https://graph.facebook.com/v26.0/77/events {"data":[{"action_source":"system_generated","custom_data":{"audience_key":"vip","vip":true},"data_processing_options":[],"event_id":"6d6172612e6c696e64406578616d706c","event_name":"Audience Entered","event_time":1795165200,"user_data":{"country":["b1d6b91b67c2afa5e322988d9462638d354ddf8a1ef79dba987f815c22b4baee"],"em":["fea464bda05242064372e66ecb3e93c8fe125948c626059f5f0c17807ee108a9"],"fn":["c8b6c061e8591dfeaabefdbad7cdacc0ece53900f0bb02160860a0e3ef7d2acc"],"ln":["540cb2d1a1eaef2cd1b6f7eaa02c5cc5a01d5e836775cd9e428aa87868faecda"],"ph":["bebe94f2295c18636a1e7bd7cccc05f5ca1a8d2eba789bc76b8c6eb7c6c7d8f5"]}}]}
    track exit: POST https://graph.facebook.com/v26.0/77/events {"data":[{"action_source":"system_generated","custom_data":{"audience_key":"vip","vip":false},"data_processing_options":[],"event_id":"69766f406578616d706c652e6f726700","event_name":"Audience Exited","event_time":1795165200,"user_data":{"country":["b1d6b91b67c2afa5e322988d9462638d354ddf8a1ef79dba987f815c22b4baee"],"em":["d80de76a120a52c4fd2c6d669da8c0e93605087519cb9d656da6a202cea7077c"],"fn":["824baf8f4d86e269cd4fb05d846779f154b77a4c69f01ba1d77eadb25898c077"],"ln":["b2a96c3d3fc2b6accdb4816e22467a7448defe3208a72a79a96d671e4087106e"],"ph":["bebe94f2295c18636a1e7bd7cccc05f5ca1a8d2eba789bc76b8c6eb7c6c7d8f5"]}}]}
    computed: POST https://graph.facebook.com/v26.0/77/events {"data":[{"action_source":"system_generated","custom_data":{"ltv_90d":812.4,"trait_key":"ltv_90d"},"data_processing_options":[],"event_id":"6d6172612e6c696e64406578616d706c","event_name":"Trait Computed","event_time":1795165200,"user_data":{"country":["b1d6b91b67c2afa5e322988d9462638d354ddf8a1ef79dba987f815c22b4baee"],"em":["fea464bda05242064372e66ecb3e93c8fe125948c626059f5f0c17807ee108a9"],"fn":["c8b6c061e8591dfeaabefdbad7cdacc0ece53900f0bb02160860a0e3ef7d2acc"],"ln":["540cb2d1a1eaef2cd1b6f7eaa02c5cc5a01d5e836775cd9e428aa87868faecda"],"ph":["bebe94f2295c18636a1e7bd7cccc05f5ca1a8d2eba789bc76b8c6eb7c6c7d8f5"]}}]}
    "#);
}

#[tokio::test]
async fn options_show_on_the_wire() {
    let made = pixel(
        "data_processing_options = [\"LDU\"]\ndata_processing_country = 1\ndata_processing_state = 1000\n\
         action_source = \"website\"\nevent_source_url = \"https://shop.example\"\ntest_event_code = \"TEST1\"\n",
    );
    assert_eq!(made.required, ["user_agent"]);
    let said = made.converse(&made.batches()["track"], Vec::new()).await;
    let mut body: Json = serde_json::from_slice(&said.captured[0].body).unwrap();
    body["data"][0]["user_data"].take();
    assert_snapshot!(body, @r#"{"data":[{"action_source":"website","custom_data":{"audience_key":"vip","vip":true},"data_processing_options":["LDU"],"data_processing_options_country":1,"data_processing_options_state":1000,"event_id":"6d6172612e6c696e64406578616d706c","event_name":"Audience Entered","event_source_url":"https://shop.example/","event_time":1795165200,"user_data":null}],"test_event_code":"TEST1"}"#);
}

#[tokio::test]
async fn places_are_told_as_events_want_them() {
    let made = pixel("data_processing_options = []\ncountry = \"CH\"\n");
    let events = batch([
        made.event_of(MARA, &[("city", "Z\u{fc}rich")]),
        made.event_of(MARA, &[("country", "AT")]),
    ]);
    let said = made.converse(&events, Vec::new()).await;
    let body: Json = serde_json::from_slice(&said.captured[0].body).unwrap();
    let (data, hash) = (&body["data"], super::super::normalise::sha256);
    assert_eq!(data[0]["user_data"]["ct"], json!([hash("zrich")]));
    assert_eq!(data[0]["user_data"]["country"], json!([hash("ch")]));
    assert_eq!(data[1]["user_data"]["country"], json!([hash("at")]));
}

#[tokio::test]
async fn it_takes_no_history() {
    assert!(!of_all_uses().spec.history);
}

#[tokio::test]
async fn another_number_of_events_is_not_success() {
    let made = of_all_uses();
    for body in [received(2), json!({"success": true})] {
        let said = made.converse(&made.several(), vec![Reply::json(&body)]).await;
        assert!(matches!(said.result, Err(Fault::Protocol { .. })), "{:?}", said.result);
    }
}

#[tokio::test]
async fn an_event_that_is_not_accepted_has_the_batch_halved() {
    let made = of_all_uses();
    let error = json!({"error": {"code": 100, "error_subcode": 2_804_019, "message": "Invalid parameter", "error_user_msg": "event_time is too old"}});
    let said = made.converse(&made.several(), vec![Reply::status(400, error.to_string())]).await;
    let reason = "HTTP 400, code 100/2804019: event_time is too old".to_owned();
    assert_eq!(said.result, Err(Fault::Rejected { reason }));
}

#[tokio::test]
async fn what_meta_remarks_is_told() {
    let made = of_all_uses();
    let body = json!({"events_received": 3, "messages": ["custom_data is large"]});
    let said = made.converse(&made.several(), vec![Reply::json(&body)]).await;
    let reason = "Meta says: custom_data is large".to_owned();
    assert_eq!(said.notices, [Notice { count: 3, reason }]);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn no_request_holds_more_events_than_meta_takes() {
    let made = of_all_uses();
    let values: Vec<_> = ["a", "b", "c"].into_iter().map(|name| (name, json!(1))).collect();
    let rows = (0..1_000).map(|_| made.message(Call::Track, MARA, Change::Changed, &values));
    let said = made.converse(&batch(rows), Vec::new()).await;
    let sizes: Vec<usize> = said
        .captured
        .iter()
        .map(|request| {
            let body: Json = serde_json::from_slice(&request.body).unwrap();
            body["data"].as_array().unwrap().len()
        })
        .collect();
    assert_eq!(sizes.iter().sum::<usize>(), 3_000);
    assert!(sizes.iter().all(|size| *size <= 1_000), "{sizes:?}");
}

#[test]
fn options_that_cannot_be_used_are_told() {
    let shown: String = [
        "data_processing_options = []\naction_source = \"website\"\n",
        "data_processing_options = []\ndata_processing_state = 1000\n",
        "data_processing_options = [\"ldu\"]\n",
        "",
    ]
    .iter()
    .map(|more| {
        let text = format!("[destinations.fb]\ntype = \"facebook_website\"\naccess_token = \"${{TOKEN}}\"\npixel_id = \"77\"\n{more}");
        let told = told(&configured(&text).err().unwrap());
        told.split(" (").next().unwrap().to_owned() + "\n"
    })
    .collect();
    assert_snapshot!(shown, @r#"
    D03 option `event_source_url` of destination `fb` is missing, and Meta wants it for events of a website
    D03 option `data_processing_options` of destination `fb` must name `LDU` where a country or state is given
    D03 option `data_processing_options` of destination `fb` is not usable: expected `LDU`
    D06 destination `fb` lacks its option `data_processing_options`
    "#);
}
