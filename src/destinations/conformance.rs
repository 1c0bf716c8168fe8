//! What holds for every destination of the catalogue.

use std::collections::BTreeMap;

use super::fixture::{MARA, SECRET, batch, configured, settings, target_with_profile, told};
use super::{
    CATALOGUE, Common, Configured, Entry, Fault, HTTP_OPTIONS, OptionDoc, Outcome, Reader, entry,
    names,
};
use crate::delivery::{Reply, Session};
use crate::finding::Finding;
use crate::record::Call;

const JUNK: [&[u8]; 12] = [
    b"",
    b"OK",
    b"<html><body>Welcome</body></html>",
    b"{",
    b"null",
    b"[1,2,3]",
    b"{\"success\":\"perhaps\"}",
    b"{\"results\":5}",
    b"{\"results\":[{\"index\":99,\"status\":\"error\"}]}",
    b"{\"results\":[{\"index\":-1,\"status\":\"error\",\"message\":7}]}",
    b"{\"Records\":[],\"FailedRecordCount\":1}",
    b"\xff\xfe\x00",
];

/// Every configured example that is spoken to over HTTP.
fn over_http() -> impl Iterator<Item = Configured> {
    let entries = CATALOGUE.iter().filter(|entry| entry.spec.kind != "file");
    entries.map(|entry| configured(entry.spec.example).unwrap())
}

/// A word for whoever takes a batch as a whole and says no more than that.
fn is_plain(made: &Configured) -> bool {
    ["webhook", "segment", "rudderstack"].contains(&made.spec.kind)
}

#[test]
fn names_are_sorted_and_found_again() {
    assert!(names().iter().all(|name| entry(name).is_some()));
}

/// Two of them would be written to one field, one over the other.
#[test]
fn names_that_differ_in_case_alone_are_one_where_the_vendor_takes_them_for_one() {
    for kind in [
        "hubspot",
        "mailchimp",
        "marketo",
        "pardot",
        "responsys",
        "salesforce",
        "salesforce_marketing_cloud",
        "sendgrid",
        "zendesk",
    ] {
        let made = configured(entry(kind).unwrap().spec.example).unwrap();
        let name = |name| made.destination.field_name(name);
        assert_eq!(name("Ltv_90d"), name("ltv_90d"), "{kind}");
        assert_ne!(name("ltv_90d"), name("ltv_30d"), "{kind}");
    }
}

#[test]
fn every_example_works() {
    for entry in CATALOGUE {
        let made = configured(entry.spec.example).unwrap_or_else(|findings| {
            panic!("{}: {}", entry.spec.kind, told(&findings));
        });
        assert!(made.warnings.is_empty(), "{}: {}", made.name, told(&made.warnings));
        assert_eq!(made.spec.kind, entry.spec.kind);
    }
}

#[test]
fn specs_hold_together() {
    for Entry { spec, options, .. } in CATALOGUE {
        let kind = spec.kind;
        assert!(spec.batch.rows >= 1 && spec.batch.rows <= spec.batch.max_rows, "{kind}");
        assert!(spec.batch.row_bytes <= spec.batch.bytes, "{kind}");
        assert!(spec.concurrency >= 1 && !spec.calls.is_empty(), "{kind}");
        assert!(spec.summary.ends_with('.') && !spec.notes.is_empty(), "{kind}");
        assert!(
            spec.notes.iter().all(|note| note.ends_with('.') || note.ends_with("`.")),
            "{kind}"
        );
        assert!(options.iter().all(|option| !option.about.is_empty()), "{kind}");
    }
}

#[test]
fn an_unknown_option_is_refused_with_the_nearest() {
    for entry in CATALOGUE {
        let text = format!("{}batch_sise = 1\nzzzzzz = 1\n", entry.spec.example);
        let findings = configured(&text).err().unwrap();
        let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, ["D02", "D02"], "{}", entry.spec.kind);
        assert_eq!(findings[0].hint.as_deref(), Some("did you mean `batch_size`?"));
        assert!(findings[0].notes[0].contains("`batch_size`"));
        assert_eq!(findings[1].hint, None);
    }
}

#[test]
fn a_value_of_the_wrong_type_is_refused_under_its_name() {
    for entry in CATALOGUE {
        for option in entry.options.iter().chain(entry.common) {
            let (mut config, source) = settings(entry.spec.example);
            let wrong = toml::Value::Array(vec![toml::Value::Boolean(true)]);
            config.options.insert(option.name.into(), wrong);
            let findings = super::configure(&config, &source).err().unwrap();
            assert_eq!(findings.len(), 1, "{}: {}", option.name, told(&findings));
            assert_eq!(findings[0].code, "D03");
            let start = format!("option `{}` of destination", option.name);
            assert!(findings[0].message.starts_with(&start), "{}", findings[0].message);
        }
    }
}

/// Hands the deserialiser a key that nobody has, and reads from its complaint which it has.
fn accepted(entry: &Entry, read: impl Fn(&Reader<'_>) -> Vec<Finding>) -> Vec<String> {
    let (mut config, source) = settings(entry.spec.example);
    config.options.insert("zzzzzz".into(), true.into());
    let findings = read(&Reader::new(&config, &source, entry));
    let note = findings[0].notes[0].split(": ").nth(1).unwrap();
    let mut names: Vec<_> = note.split(", ").map(|name| name.trim_matches('`').into()).collect();
    names.sort();
    names
}

fn with_unknown(options: &[OptionDoc]) -> &'static [OptionDoc] {
    let unknown = OptionDoc::optional("zzzzzz", "unknown");
    Vec::leak(options.iter().copied().chain([unknown]).collect())
}

fn documented(options: &[OptionDoc]) -> Vec<String> {
    let mut names: Vec<_> = options.iter().map(|option| option.name.to_owned()).collect();
    names.sort();
    names
}

#[test]
fn documented_options_are_the_options_there_are() {
    for entry in CATALOGUE {
        let asked = Entry { options: with_unknown(entry.options), ..*entry };
        let names =
            accepted(&asked, |reader| (entry.configure)(reader, &Common::default()).err().unwrap());
        assert_eq!(names, documented(entry.options), "{}", entry.spec.kind);
    }
    let webhook = entry("webhook").unwrap();
    let asked = Entry { common: with_unknown(HTTP_OPTIONS), ..*webhook };
    assert_eq!(accepted(&asked, |reader| reader.common().1), documented(HTTP_OPTIONS));
}

#[test]
fn required_options_are_those_it_cannot_do_without() {
    for entry in CATALOGUE {
        for option in entry.options.iter().filter(|option| option.required) {
            let (mut config, source) = settings(entry.spec.example);
            config.options.remove(option.name);
            let findings = super::configure(&config, &source).err().unwrap();
            assert_eq!(findings.len(), 1, "{}", told(&findings));
            assert_eq!(findings[0].code, "D06");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn all_is_well_where_the_server_says_so() {
    for made in over_http() {
        for (name, batch) in made.batches() {
            let said = made.converse(&batch, Vec::new()).await;
            let (kind, wire) = (made.spec.kind, said.wire());
            assert!(!said.captured.is_empty(), "{kind}: {name} sent nothing");
            assert_eq!(
                said.result,
                Ok(vec![Outcome::Delivered; batch.len()]),
                "{kind}: {name}\n{wire}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn secrets_are_never_shown() {
    for made in over_http() {
        let mut shown = format!("{made:?}");
        let echo: String = made.secrets.iter().map(|secret| format!("{secret} ")).collect();
        for status in [200, 400, 401, 404, 500] {
            let replies = vec![Reply::status(status, echo.clone()); 10];
            let said = made.converse(&made.several(), replies).await;
            shown.push_str(&format!("{:?}{:?}", said.result, said.captured));
            if let Err(fault) = said.result {
                shown.push_str(&fault.to_string());
            }
        }
        let said = made.converse(&made.several(), Vec::new()).await;
        shown.push_str(&format!("{:?}{:?}{}", said.result, said.captured, said.remote.0));
        assert!(!shown.contains(SECRET), "{}: {shown}", made.spec.kind);
    }
}

#[tokio::test(start_paused = true)]
async fn every_status_has_a_result_that_is_success_only_for_2xx() {
    for made in over_http() {
        for status in 200..=599 {
            let replies = vec![Reply::status(status, "OK"); 100];
            let batch = made.several();
            let said = made.converse(&batch, replies).await;
            let delivered = said.result == Ok(vec![Outcome::Delivered; batch.len()]);
            // 207 promises outcomes row by row, and `OK` holds none.
            let success = is_plain(&made)
                && (200..300).contains(&status)
                && (status != 207 || made.spec.kind != "webhook");
            assert_eq!(delivered, success, "{} {status}", made.spec.kind);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn junk_never_panics_and_receipts_cover_the_batch() {
    for made in over_http() {
        let batch = made.several();
        let well = made.converse(&batch, Vec::new()).await.captured.len();
        for (status, junk) in [200, 202, 204, 207, 400, 500].into_iter().zip([JUNK; 6]) {
            // At every step of the conversation, the ones before it being well.
            for (step, body) in (0..well).flat_map(|step| junk.map(|body| (step, body))) {
                let said = made.converse_after(&batch, step, Reply::status(status, body)).await;
                if let Ok(outcomes) = said.result {
                    assert_eq!(outcomes.len(), batch.len());
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_page_is_not_success_for_an_api() {
    for made in over_http().filter(|made| made.spec.kind != "webhook") {
        let batch = made.several();
        for body in ["<html>Sign in</html>", "{\"success\":", "7"] {
            let said = made.converse(&batch, vec![Reply::status(200, body); 100]).await;
            let delivered = said.result.is_ok_and(|all| all.contains(&Outcome::Delivered));
            assert!(!delivered, "{} {body}", made.spec.kind);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_is_repeated_with_the_same_bytes_or_left_unsettled() {
    for made in over_http() {
        let batch = made.several();
        let replies = vec![Reply::Lost, Reply::Refused, Reply::status(503, "")];
        let said = made.converse(&batch, replies).await;
        let kind = made.spec.kind;
        match &said.result {
            Ok(outcomes) => {
                assert_eq!(*outcomes, vec![Outcome::Delivered; batch.len()], "{kind}");
                // What was repeated is exactly what is sent where nothing is lost.
                let fresh = configured(made.spec.example).unwrap();
                let well = fresh.converse(&batch, Vec::new()).await;
                assert_eq!(said.captured, well.captured, "{kind}");
            }
            Err(fault) => assert!(matches!(fault, Fault::Ambiguous { .. }), "{kind}: {fault}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_credentials_halt_and_a_slow_down_closes_the_gate() {
    for made in over_http() {
        let batch = made.several();
        let refused = made.converse(&batch, vec![Reply::status(401, "{}"); 100]).await;
        let kind = made.spec.kind;
        assert!(
            matches!(refused.result, Err(Fault::Denied { .. })),
            "{kind}: {:?}",
            refused.result
        );
        let started = tokio::time::Instant::now();
        let slow = Reply::status(429, "{}").with_header("retry-after", "7");
        let said = made.converse(&batch, vec![slow]).await;
        assert_eq!(said.result, Ok(vec![Outcome::Delivered; batch.len()]), "{kind}");
        assert!(started.elapsed().as_secs() >= 7, "{kind} did not wait");
    }
}

#[tokio::test(start_paused = true)]
async fn checks_change_nothing_remote() {
    for made in over_http() {
        let session = match is_plain(&made) {
            true => Session::scripted(&made.terms(), vec![Reply::status(400, "empty batch")]),
            false => Session::served(&made.terms(), Vec::new(), made.server()),
        };
        let kind = made.spec.kind;
        made.destination.check(&session).await.unwrap_or_else(|fault| panic!("{kind}: {fault}"));
        for request in session.captured() {
            let asks_for_token = request.url.to_lowercase().contains("token");
            let empty = request.body == "{\"batch\":[]}";
            let reads = request.method == "GET" || request.url.contains("search");
            assert!(
                reads || asks_for_token || empty || READS_BY_POST.contains(&kind),
                "{kind}: {} {}",
                request.method,
                request.url
            );
        }
    }
}

/// Destinations whose reading calls are POST requests too.
const READS_BY_POST: &[&str] = &["braze", "kinesis", "resci"];

#[tokio::test(start_paused = true)]
async fn no_window_exceeds_any_quota_of_the_catalogue() {
    for made in over_http().filter(|made| !made.spec.quotas.is_empty()) {
        let session = Session::served(&made.terms(), Vec::new(), made.server());
        let start = tokio::time::Instant::now();
        let mut moments = Vec::new();
        for _ in 0..300 {
            let url = url::Url::parse("http://127.0.0.1:9/").unwrap();
            let request = crate::delivery::Request::get(url).reading(|_| Ok(()));
            session.send(request).await.unwrap();
            moments.push(start.elapsed());
        }
        for quota in made.spec.quotas {
            let most = moments.iter().map(|from| {
                moments.iter().filter(|at| *at >= from && **at < *from + quota.per).count()
            });
            assert!(most.max().unwrap() <= quota.limit as usize, "{}", made.spec.kind);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_takes_the_requests_that_a_plan_reckons_with() {
    for made in over_http() {
        let mut seen: BTreeMap<(&str, usize), (usize, usize)> = BTreeMap::new();
        for batch in made.batches().into_values() {
            // Who leaves needs fewer requests or more; lists are mostly made of members.
            if batch.messages().iter().all(crate::message::Message::is_member) {
                let [first, again] = made.requests_for(&batch).await;
                let kind = (batch.messages()[0].call().as_str(), batch.len());
                let (least, most) = seen.entry(kind).or_insert((again, first));
                (*least, *most) = ((*least).min(again), (*most).max(first));
            }
        }
        for ((call, rows), (least, most)) in seen {
            let call = made.spec.calls.iter().find(|taken| taken.as_str() == call);
            let reckoned = made.destination.requests(*call.unwrap(), rows);
            let kind = made.spec.kind;
            assert!((least..=most).contains(&reckoned), "{kind} {rows}: {least} to {most}");
        }
    }
}

/// `fields` may map a column of `profiles`, which then travels with every message.
#[tokio::test(start_paused = true)]
async fn a_mapped_profile_column_arrives() {
    // Kinesis takes canonical messages, in another encoding.
    for made in
        over_http().filter(|made| made.spec.takes(Call::Identify) && made.spec.kind != "kinesis")
    {
        let batch = batch([made.enriched(MARA, &[("city", "XXXL")])]);
        let session = Session::served(&made.terms(), Vec::new(), made.server());
        let target = target_with_profile(&batch, None, &["city"]);
        let remote = made.destination.open(&session, &target).await.unwrap();
        made.destination.deliver(&session, &remote, &batch).await.unwrap();
        let holds = |body: &[u8]| body.windows(4).any(|part| part == b"XXXL");
        let arrived = session.captured().iter().any(|request| holds(&request.body));
        assert!(arrived, "{}", made.spec.kind);
    }
}
