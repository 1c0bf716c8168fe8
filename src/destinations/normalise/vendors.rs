//! Our normal forms against those of the vendors' own libraries, as `tests/vendor_hashes` holds them.
//!
//! A value is the same, or `differences.json` lists it with our form of it and the reason why it is
//! another one; what is listed there must differ from some library of the vendor.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value as Json;

use super::*;

/// What one library made of the values, and how we make them for the same place.
struct Library {
    vendor: &'static str,
    name: &'static str,
    text: &'static str,
    ours: fn(kind: &str, text: &str, country: Option<&str>) -> Normalised,
}

const LIBRARIES: [Library; 6] = [
    Library {
        vendor: "meta",
        name: "facebook_business, events",
        text: include_str!("../../../tests/vendor_hashes/facebook_business_events.json"),
        ours: meta,
    },
    Library {
        vendor: "meta",
        name: "facebook_business, audiences",
        text: include_str!("../../../tests/vendor_hashes/facebook_business_audiences.json"),
        ours: meta,
    },
    Library {
        vendor: "meta",
        name: "facebook-nodejs-business-sdk",
        text: include_str!("../../../tests/vendor_hashes/facebook_nodejs_business_sdk.json"),
        ours: meta,
    },
    Library {
        vendor: "meta",
        name: "capi-param-builder-nodejs",
        text: include_str!("../../../tests/vendor_hashes/capi_param_builder.json"),
        ours: meta,
    },
    Library {
        vendor: "google",
        name: "google-ads-datamanager-util",
        text: include_str!("../../../tests/vendor_hashes/google_ads_datamanager_util.json"),
        ours: google,
    },
    Library {
        vendor: "google",
        name: "@google-ads/datamanager-util",
        text: include_str!("../../../tests/vendor_hashes/google_ads_datamanager_node.json"),
        ours: google,
    },
];

fn meta(kind: &str, text: &str, country: Option<&str>) -> Normalised {
    match kind {
        "email" => meta_email(text, country),
        "phone" => e164(text, country).map(|number| digits(&number).to_owned()),
        "first_name" | "last_name" => meta_name(text, country),
        "city" => meta_city(text, country),
        "state" => meta_state(text, country),
        "zip" => meta_zip(text, country),
        "country" => meta_country(text, country),
        "date_of_birth" => date_of_birth(text, country).map(|date| date.replace('-', "")),
        "gender" => gender(text, country),
        "advertising_id" => plain_advertising_id(text, country),
        "external_id" => identifier(text, country),
        other => panic!("no kind `{other}`"),
    }
}

fn google(kind: &str, text: &str, country: Option<&str>) -> Normalised {
    match kind {
        "email" => google_email(text, country),
        "phone" => e164(text, country),
        "first_name" => google_given_name(text, country),
        "last_name" => google_family_name(text, country),
        "zip" => google_postal_code(text, country),
        "country" => google_country(text, country),
        other => panic!("no kind `{other}`"),
    }
}

/// Values of one kind that some library of the vendor makes something else of, and why.
#[derive(Deserialize)]
struct Difference {
    kind: String,
    why: String,
    /// Our normal form of each, or nothing where we refuse it.
    ours: BTreeMap<String, Option<String>>,
}

/// The values of a kind, with their countries.
fn corpus(kind: &str) -> Vec<(String, Option<String>)> {
    let corpus = include_str!("../../../tests/vendor_hashes/corpus.json");
    let corpus: Json = serde_json::from_str(corpus).unwrap();
    let read = |case: &Json| match case {
        Json::String(text) => (text.clone(), None),
        case => (case[0].as_str().unwrap().to_owned(), case[1].as_str().map(str::to_owned)),
    };
    corpus[kind].as_array().unwrap().iter().map(read).collect()
}

fn differences(vendor: &str) -> Vec<Difference> {
    let text = include_str!("../../../tests/vendor_hashes/differences.json");
    let mut all: BTreeMap<String, Vec<Difference>> = serde_json::from_str(text).unwrap();
    all.remove(vendor).unwrap()
}

/// Kind and value, and what the library and we make of them.
type Made = (String, String, Option<String>, Option<String>);

fn made(library: &Library) -> Vec<Made> {
    let made: Json = serde_json::from_str(library.text).unwrap();
    let kinds = made.as_object().unwrap().iter().filter(|(_, cases)| cases.is_object());
    kinds
        .flat_map(|(kind, cases)| corpus(kind).into_iter().map(move |case| (kind, cases, case)))
        .map(|(kind, cases, (text, country))| {
            assert!(cases.get(&text).is_some(), "{}: {kind} {text:?} is missing", library.name);
            let theirs = cases[&text][0].as_str().map(str::to_owned);
            let ours = (library.ours)(kind, &text, country.as_deref()).ok();
            (kind.clone(), text, theirs, ours)
        })
        .collect()
}

#[test]
fn values_are_normalised_as_the_vendors_libraries_do_or_differ_for_a_reason() {
    for vendor in ["meta", "google"] {
        let differences = differences(vendor);
        let mut needed = BTreeSet::new();
        for library in LIBRARIES.iter().filter(|library| library.vendor == vendor) {
            for (kind, text, theirs, ours) in made(library) {
                if theirs == ours {
                    continue;
                }
                let is_told = |one: &&Difference| one.kind == kind && one.ours.contains_key(&text);
                let told = differences.iter().find(is_told);
                let told = told.and_then(|one| one.ours.get(&text));
                assert_eq!(
                    told,
                    Some(&ours),
                    "{}: {kind} {text:?} is {theirs:?} there",
                    library.name
                );
                needed.insert((kind, text));
            }
        }
        for Difference { kind, why, ours } in &differences {
            for text in ours.keys() {
                assert!(needed.contains(&(kind.clone(), text.clone())), "{why}: {kind} {text:?}");
            }
        }
    }
}

#[test]
fn hashes_are_those_of_the_vendors_libraries() {
    let mut compared = 0;
    for library in &LIBRARIES {
        let made: Json = serde_json::from_str(library.text).unwrap();
        let kinds = made.as_object().unwrap().values().filter_map(Json::as_object);
        for case in kinds.flat_map(serde_json::Map::values).filter(|case| case.is_array()) {
            let (normal, hash) = (case[0].as_str().unwrap(), case[1].as_str().unwrap());
            // Some kinds are not hashed there; hashes are left alone, but by uploads of audiences.
            if normal != hash && !is_hash(normal) {
                assert_eq!(sha256(normal), hash, "{}: {normal:?}", library.name);
                compared += 1;
            }
        }
    }
    assert!(compared > 500, "{compared}");
}
