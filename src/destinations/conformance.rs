//! What holds for every destination of the catalogue.

use super::fixture::{SECRET, configured, every_kind, receipt, settings, target, told};
use super::{
    CATALOGUE, Common, Delivery, Entry, Fault, HTTP_OPTIONS, OptionDoc, Outcome, Reader, entry,
    names,
};
use crate::delivery::{Reply, Session};
use crate::finding::Finding;

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

fn several() -> super::Batch {
    every_kind().remove("several").unwrap()
}

#[test]
fn names_are_sorted_and_found_again() {
    assert_eq!(names(), ["file", "rudderstack", "segment", "webhook"]);
    assert!(names().iter().all(|name| entry(name).is_some()));
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
async fn secrets_are_never_shown() {
    for entry in CATALOGUE {
        let made = configured(entry.spec.example).unwrap();
        let mut shown = format!("{made:?}");
        let echo: String = made.secrets.iter().map(|secret| format!("{secret} ")).collect();
        for status in [200, 400, 401, 404, 500] {
            let replies = vec![Reply::status(status, echo.clone()); 10];
            let (result, captured) = made.deliver(&several(), replies).await;
            shown.push_str(&format!("{result:?}{captured:?}"));
            if let Err(fault) = result {
                shown.push_str(&fault.to_string());
            }
        }
        assert!(!shown.contains(SECRET), "{}: {shown}", entry.spec.kind);
    }
}

#[tokio::test(start_paused = true)]
async fn every_status_has_a_result_that_is_success_only_for_2xx() {
    for entry in CATALOGUE.iter().filter(|entry| entry.spec.kind != "file") {
        let made = configured(entry.spec.example).unwrap();
        for status in 200..=599 {
            let replies = vec![Reply::status(status, "OK"); 100];
            let (result, _) = made.deliver(&several(), replies).await;
            // 207 promises outcomes row by row, and `OK` holds none.
            let success =
                (200..300).contains(&status) && (status != 207 || entry.spec.kind != "webhook");
            assert_eq!(result.is_ok(), success, "{} {status}", entry.spec.kind);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn junk_never_panics_and_receipts_cover_the_batch() {
    for entry in CATALOGUE {
        let made = configured(entry.spec.example).unwrap();
        for (status, junk) in [200, 202, 204, 207, 400, 500].into_iter().zip([JUNK; 6]) {
            for body in junk {
                let batch = several();
                let (result, _) = made.deliver(&batch, vec![Reply::status(status, body); 10]).await;
                if let Ok(Delivery::Settled(receipt)) = result {
                    assert_eq!(receipt.outcomes().len(), batch.len());
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_page_is_not_success_for_an_api() {
    for kind in ["segment", "rudderstack"] {
        let made = configured(entry(kind).unwrap().spec.example).unwrap();
        for body in ["<html>Sign in</html>", "{\"success\":", "7"] {
            let (result, _) = made.deliver(&several(), vec![Reply::status(200, body)]).await;
            assert!(matches!(result, Err(Fault::Protocol { .. })), "{kind} {body} {result:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_is_repeated_with_the_same_bytes() {
    for entry in CATALOGUE.iter().filter(|entry| entry.spec.kind != "file") {
        let made = configured(entry.spec.example).unwrap();
        let replies =
            vec![Reply::Lost, Reply::Refused, Reply::status(503, ""), Reply::status(200, "")];
        let (result, captured) = made.deliver(&several(), replies).await;
        let outcomes = receipt(result.unwrap()).into_outcomes();
        assert_eq!(outcomes, vec![Outcome::Delivered; 3]);
        assert!(captured.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

#[tokio::test]
async fn checks_and_openings_change_nothing_remote() {
    for entry in CATALOGUE {
        let made = configured(entry.spec.example).unwrap();
        let session = Session::scripted(&made.terms(), vec![Reply::status(400, "empty batch")]);
        made.destination.check(&session).await.unwrap();
        made.destination.open(&session, &target()).await.unwrap();
        let bodies: Vec<_> = session.captured().into_iter().map(|request| request.body).collect();
        assert!(bodies.iter().all(|body| body == "{\"batch\":[]}"), "{bodies:?}");
    }
}
