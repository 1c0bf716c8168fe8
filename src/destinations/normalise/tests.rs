//! The vectors of the fact sheets, those of the vendors' own libraries, and awkward values.

use super::*;

type Normalise = fn(&str, Option<&str>) -> Normalised;

/// Every normaliser there is.
const ALL: [(&str, Normalise); 19] = [
    ("email", email),
    ("meta_email", meta_email),
    ("email_without_spaces", email_without_spaces),
    ("google_email", google_email),
    ("e164", e164),
    ("advertising_id", advertising_id),
    ("plain_advertising_id", plain_advertising_id),
    ("identifier", identifier),
    ("meta_name", meta_name),
    ("google_given_name", google_given_name),
    ("google_family_name", google_family_name),
    ("gender", gender),
    ("date_of_birth", date_of_birth),
    ("meta_city", meta_city),
    ("meta_state", meta_state),
    ("meta_zip", meta_zip),
    ("meta_country", meta_country),
    ("google_country", google_country),
    ("google_postal_code", google_postal_code),
];

/// Value, country, normal form or reason.
type Case<'a> = (&'a str, Option<&'a str>, Result<&'a str, &'a str>);

fn hold(normalise: Normalise, cases: &[Case<'_>]) {
    for (text, country, expected) in cases {
        let normalised = normalise(text, *country);
        assert_eq!(normalised.as_deref().map_err(|reason| *reason), *expected, "{text:?}");
    }
}

/// Hashes of values that need no country.
fn hash_to(cases: &[(Normalise, &str, &str)]) {
    for (normalise, text, expected) in cases {
        assert_eq!(sha256(&normalise(text, None).unwrap()), *expected, "{text}");
    }
}

#[test]
fn hashes_of_emails_are_those_of_the_fact_sheets() {
    let ada = "7799473ff091b38137e0698047364e040446fe7cb3209e8321d5a865127853d0";
    let vip = "7120f4acc1e8fbfe9733aa58f7459cbce70d7bd46a1e17974c2f896efeb36eae";
    let gmail = "cd98a25152ad884b29e524ea5d3d8d35615ed0afbbc5ea3a6d4215572b0b2bde";
    let plain = "894ac26ea616dec861df81a6efb2ddfc30c3f1cb72b219a17242d8244e66c125";
    let grace = "823fbbd5f0ba28d902f86def48eb75f8cc2b08a3611548353144d94cd0569612";
    let shop = "3b3cdc560135b60c3c3750bfc53b58f38a1f18c83b8b602b8dfdc79a9f78ccea";
    hash_to(&[
        (email, "  Ada.Lovelace@Example.ORG ", ada),
        (email, "Ada.Lovelace+vip@Gmail.com", vip),
        (email, "Ada.Lovelace@gmail.com", plain),
        (email_without_spaces, " Ada.Lovelace @Example.ORG", ada),
        (email_without_spaces, "Ada.Lovelace+vip@gmail.com", vip),
        (google_email, " Ada.Lovelace+vip@Gmail.com ", gmail),
        (google_email, "ada.lovelace@gmail.com", gmail),
        (google_email, "Ada.Lovelace@Example.org ", ada),
        (google_email, "grace.hopper@googlemail.com", grace),
        (google_email, "Ada.Lovelace+shop@Example.org", shop),
    ]);
}

#[test]
fn other_hashes_are_those_of_the_fact_sheets() {
    let office = "feeae5471ebb062cafbda56ae67c7150e9384da46c0231e87c4d1d79f5bc1bdb";
    let london = "13745d12e37fafef7863b39f53fe5e43f3861156b0bac7bb322b71efb9414ea9";
    let device = "6cd6140c54b2741b81b0099b232a3ddaeed82df456f43563574877baec22b632";
    let oneil = "67a42a846e98e3c1a96cd6ba14883a5ea05990cd93964ce8b832aa9497ca785c";
    let ada = "fdee430d40bd57deeac186cd9790033d0f06f909a8806e7ce6e717ab7c7d5029";
    let city = "1a6bd4d9d79dc0a79b53795c70d3349fa9e38968a3fbefbfe8783efb1d2b6aac";
    let country = "79adb2a2fce5c6ba215fe5f27f532d4e7edbac4b6a5e09e1ef3a08084a904621";
    let zip = "e73ac16e69f060ee98b0fda5f66f48c4648ee26950e9bab3a097389853fd859e";
    let december = "6b51d431df5d7f141cbececcf79edf3dd861c3b4069f0b11661a3eefacbba918";
    hash_to(&[
        (e164, "+1 (650) 555-0188", office),
        (e164, "+44 20 7946 0123", london),
        (advertising_id, "EA7583CD-A667-48BC-B806-42ECB2B48606", device),
        (meta_name, "O'Neil", oneil),
        (
            |text, country| {
                google_family_name(text, country).map(|name| google_unpunctuated(&name))
            },
            "O'Neil Jr.",
            oneil,
        ),
        (google_given_name, " Mrs. Ada ", ada),
        (meta_city, "San Francisco", city),
        (meta_country, "US", country),
    ]);
    assert_eq!(sha256(&meta_zip("94105-1234", Some("US")).unwrap()), zip);
    assert_eq!(sha256(&date_of_birth("1815-12-10", None).unwrap()[5..7]), december);
}

#[test]
fn digits_alone_are_what_meta_and_snap_hash() {
    for (text, country, expected) in [
        (
            "+1 (650) 555-0188",
            None,
            "3cc4bf32fddc1864b842ce6116bd9830b8baf4152a5680c37311a8ed61848f65",
        ),
        (
            "(650) 555-0188",
            Some("US"),
            "3cc4bf32fddc1864b842ce6116bd9830b8baf4152a5680c37311a8ed61848f65",
        ),
        (
            "0044 20 7946 0123",
            None,
            "9b48e488a39eabd0e13d5893897b88695cec8e22d254304d278a7008a0b2a439",
        ),
        // Of Snap's own page.
        (
            "+44 844 412 4653",
            None,
            "dc008fda46e2e64002cf2f82a4906236282d431c4f75e5b60bfe79fc48546383",
        ),
    ] {
        assert_eq!(sha256(digits(&e164(text, country).unwrap())), expected, "{text}");
    }
}

#[test]
fn other_forms_of_hashes_are_those_of_the_fact_sheets() {
    assert_eq!(
        sha256_base64("adalovelace@gmail.com"),
        "zZiiUVKtiEsp5STqXT2NNWFe0K+7xeo6bUIVVysLK94="
    );
    assert_eq!(
        sha256_base64("CD98A25152AD884B29E524EA5D3D8D35615ED0AFBBC5EA3A6D4215572B0B2BDE"),
        "zZiiUVKtiEsp5STqXT2NNWFe0K+7xeo6bUIVVysLK94="
    );
    assert_eq!(md5("ea7583cd-a667-48bc-b806-42ecb2b48606"), "98b2f3f125ad0843ac3e7eb6c51eb344");
}

#[test]
fn a_hash_is_recognised_and_never_hashed_again() {
    let hash = "7799473FF091b38137e0698047364e040446fe7cb3209e8321d5a865127853d0";
    let lower = hash.to_lowercase();
    for normalise in [email, email_without_spaces, google_email, e164, advertising_id, meta_name] {
        assert_eq!(normalise(&format!(" {hash} "), None), Ok(lower.clone()));
    }
    assert_eq!(sha256(hash), lower);
    assert_eq!(sha256(&sha256("a")), sha256("a"));
    // One digit too few or too many, or one that is none, and it is not a hash.
    for odd in [&hash[1..], &format!("{hash}0"), &format!("g{}", &hash[1..])] {
        assert!(!is_hash(odd));
        assert_eq!(email(odd, None), Err(NOT_AN_EMAIL));
    }
    assert!(plain_advertising_id(hash, None).is_err());
}

#[test]
fn normalising_twice_changes_nothing() {
    let values = [
        " Ada.Lovelace+vip@Gmail.com ",
        "+1 (650) 555-0188",
        "020 7946 0123",
        "EA7583CD-A667-48BC-B806-42ECB2B48606",
        "Mrs. Anna-Maria O'Neil, Jr., DDS",
        "Z\u{fc}rich (Kreis 4)",
        "SW1A 2AA",
        "New York",
        "gb",
        "Male",
        "1815-12-10T00:00:00Z",
        "\u{130}stanbul",
    ];
    for (name, normalise) in ALL {
        for country in [None, Some("GB"), Some("US")] {
            for value in values {
                let Ok(once) = normalise(value, country) else { continue };
                assert_eq!(normalise(&once, country), Ok(once.clone()), "{name} {value}");
                // A state means another one where its country is not known.
                if name != "meta_state" {
                    assert_eq!(normalise(&once, None), Ok(once.clone()), "{name} {value}");
                }
            }
        }
    }
}

#[test]
fn nothing_is_nothing_everywhere() {
    for (name, normalise) in ALL {
        for empty in ["", " ", "\t\n", "\u{a0}"] {
            assert!(normalise(empty, Some("US")).is_err(), "{name} {empty:?}");
        }
    }
}

#[test]
fn what_is_no_email_address_is_refused() {
    let lists =
        ["a@example.org,b@example.org", "a@example.org;", "Ada<a@example.org>", "mailto:a@b.org"];
    let others =
        ["quinn", "@example.com", "quinn@", "a@b@example.com", "a@localhost", "a@.org", "a@b..org"];
    for text in lists.into_iter().chain(others) {
        for normalise in [email, meta_email, email_without_spaces, google_email] {
            assert_eq!(normalise(text, None), Err(NOT_AN_EMAIL), "{text}");
        }
    }
    assert_eq!(email("ada lovelace@example.org", None), Err(NOT_AN_EMAIL));
    assert_eq!(google_email("+vip@gmail.com", None), Err(NOT_AN_EMAIL));
    assert_eq!(google_email("...@gmail.com", None), Err(NOT_AN_EMAIL));
}

#[test]
fn emails_follow_the_vendors_libraries() {
    hold(
        google_email,
        &[
            ("QuinnY@EXAMPLE.com", None, Ok("quinny@example.com")),
            ("j.e.f..ferson.Loves.hiking@gmail.com", None, Ok("jeffersonloveshiking@gmail.com")),
            (
                "jefferson.Loves.hiking@googlemail.com",
                None,
                Ok("jeffersonloveshiking@googlemail.com"),
            ),
            ("jefferson.hiking+a+b@gmail.com", None, Ok("jeffersonhiking@gmail.com")),
            ("a.b+c@mail.gmail.com", None, Ok("a.b+c@mail.gmail.com")),
            ("\u{a0}A.B@Example.org\u{a0}", None, Ok("a.b@example.org")),
        ],
    );
    hold(
        email,
        &[
            ("O'Brien@Example.org", None, Ok("o'brien@example.org")),
            ("J\u{dc}RGEN@B\u{dc}CHER.example", None, Ok("j\u{fc}rgen@b\u{fc}cher.example")),
        ],
    );
}

#[test]
fn phones_need_a_country_and_a_plan() {
    let (no_country, no_number) = (Err("no country code"), Err("not a phone number"));
    hold(
        e164,
        &[
            ("+1 800-555-0100", None, Ok("+18005550100")),
            ("+44-113-496-0987", None, Ok("+441134960987")),
            ("1 800 555 0100", Some("US"), Ok("+18005550100")),
            ("441134960987", Some("gb"), Ok("+441134960987")),
            ("0171 1234567", Some("DE"), Ok("+491711234567")),
            ("+49 (0)171 1234567", None, Ok("+491711234567")),
            ("06 1234 5678", Some("IT"), Ok("+390612345678")),
            ("+39 06 1234 5678", Some("US"), Ok("+390612345678")),
            ("(00 44) 20 7946 0123", Some("US"), Ok("+442079460123")),
            ("\u{ff0b}81 3-1234-5678", None, Ok("+81312345678")),
            ("+1 650 555 0188 ext. 3", None, Ok("+16505550188")),
            ("tel:+1-650-555-0188", None, Ok("+16505550188")),
            (
                "\u{0660}\u{0661}\u{0660}\u{0661}\u{0662}\u{0663}\u{0664}\u{0665}\u{0666}\u{0667}\u{0668}",
                Some("EG"),
                Ok("+201012345678"),
            ),
            ("1 800 555 0100", None, no_country),
            ("0171 1234567", None, no_country),
            ("0171 1234567", Some(""), no_country),
            ("0171 1234567", Some("Germany"), Ok("+491711234567")),
            ("0171 1234567", Some("DEU"), Ok("+491711234567")),
            ("0171 1234567", Some("Germania"), no_country),
            ("0171 1234567", Some("ZZ"), no_country),
            ("+1 650", None, no_number),
            ("+999 123456789", None, no_number),
            ("unknown", Some("US"), no_number),
            ("++++", None, no_number),
            ("12", Some("US"), no_number),
        ],
    );
}

#[test]
fn names_follow_the_vendors_libraries() {
    hold(
        google_given_name,
        &[
            (" Alex   ", None, Ok("alex")),
            (" Dr. Alex   ", None, Ok("alex")),
            (" Alex Dr.", None, Ok("alex")),
            (" Mralex   ", None, Ok("mralex")),
            ("Anna Maria", None, Ok("anna maria")),
            (" Mr. ", None, Err("no name")),
        ],
    );
    hold(
        google_family_name,
        &[
            ("Quinn-Alex", None, Ok("quinn-alex")),
            (" Quinn, Jr.   ", None, Ok("quinn")),
            (" Quinn,Jr.   ", None, Ok("quinn")),
            ("quinn, jr. dds", None, Ok("quinn")),
            ("quinn, jr., dds", None, Ok("quinn")),
            ("Boardds", None, Ok("boardds")),
            ("lacparm", None, Ok("lacparm")),
            (",Jr.,DDS ", None, Err("no name")),
            ("O'Neil Jr", None, Ok("o'neil")),
            ("-", None, Err("no name")),
        ],
    );
    hold(
        meta_name,
        &[
            ("Anna-Maria de la Cruz", None, Ok("annamariadelacruz")),
            ("Jos\u{c9}", None, Ok("jos\u{e9}")),
            ("\u{738b}\u{5c0f}\u{660e}", None, Ok("\u{738b}\u{5c0f}\u{660e}")),
            ("O\u{2019}Neil", None, Ok("oneil")),
            ("O\u{b4}Neil", None, Ok("oneil")),
            ("D\u{2011}Arc \u{201e}Jo\u{201c}", None, Ok("darcjo")),
            ("\u{30a2}\u{30fb}\u{30a4}", None, Ok("\u{30a2}\u{30fb}\u{30a4}")),
            (
                "\u{41c}\u{430}\u{440}\u{2bc}\u{44f}\u{43d}\u{430}",
                None,
                Ok("\u{43c}\u{430}\u{440}\u{44f}\u{43d}\u{430}"),
            ),
            ("...", None, Err("no name")),
        ],
    );
}

#[test]
fn places_are_worded_as_meta_and_google_word_them() {
    hold(
        meta_city,
        &[
            ("St. Louis (MO) 63101", None, Ok("stlouismo")),
            ("\u{6771}\u{4eac}", None, Err("no letter from a to z")),
        ],
    );
    hold(
        meta_state,
        &[
            ("New York", Some("US"), Ok("ny")),
            ("CA", Some("us"), Ok("ca")),
            ("New York", Some("United States"), Ok("ny")),
            ("N.Y.", Some("US"), Ok("ny")),
            ("Puerto Rico", Some("US"), Ok("pr")),
            ("Quintana Roo", Some("US"), Err("not a state of the US")),
            ("Georgia", None, Ok("ga")),
            ("Georgia", Some("GE"), Ok("georgia")),
            ("Qu\u{e9}bec", Some("CA"), Ok("qc")),
            ("Ontario", None, Ok("on")),
            ("Nieder\u{f6}sterreich ", Some("AT"), Ok("nieder\u{f6}sterreich")),
        ],
    );
    hold(
        meta_zip,
        &[
            ("941051234", Some("US"), Ok("94105")),
            ("SW1A 2AA", Some("GB"), Ok("sw1a2")),
            ("m1 1ae", Some("gb"), Ok("m11")),
            ("1012 AB", Some("NL"), Ok("1012ab")),
            ("100-0001", Some("JP"), Ok("100")),
            ("D-80331", Some("DE"), Err("no postal code")),
        ],
    );
    hold(
        google_country,
        &[
            ("  us  ", None, Ok("US")),
            ("usa", None, Ok("US")),
            ("U.S.", None, Ok("US")),
            ("UK", None, Ok("GB")),
            ("C\u{f4}te d'Ivoire", None, Ok("CI")),
            ("T\u{fc}rkiye", None, Ok("TR")),
            ("XX", None, Err("not a country")),
            // Not Andorra, though only its letters are of a to z.
            ("\u{10c}ad", None, Err("not a country")),
        ],
    );
    hold(google_postal_code, &[("  1229-076  ", None, Ok("1229-076"))]);
}

#[test]
fn gender_birth_and_devices_are_checked() {
    hold(
        gender,
        &[
            (" Female", None, Ok("f")),
            ("M", None, Ok("m")),
            ("Mrs.", None, Ok("f")),
            ("divers", None, Err("neither `m` nor `f`")),
        ],
    );
    hold(
        date_of_birth,
        &[
            ("1815-12-10 00:00", None, Ok("1815-12-10")),
            ("1815-13-10", None, Err("not a date such as 1987-12-31")),
            ("1815-02-30", None, Err("not a date such as 1987-12-31")),
            ("18151210", None, Ok("1815-12-10")),
            ("1815/12/1", None, Ok("1815-12-01")),
            ("31.12.1815", None, Ok("1815-12-31")),
            ("12/31/1815", None, Ok("1815-12-31")),
            ("10.10.1815", None, Ok("1815-10-10")),
            ("10.12.1815", None, Err("a date whose day and month cannot be told apart")),
            ("31.12.15", None, Err("not a date such as 1987-12-31")),
        ],
    );
    hold(
        plain_advertising_id,
        &[
            (
                " EA7583CD-A667-48BC-B806-42ECB2B48606",
                None,
                Ok("ea7583cd-a667-48bc-b806-42ecb2b48606"),
            ),
            ("EA7583CDA66748BCB80642ECB2B48606", None, Err(NOT_AN_ADVERTISING_ID)),
            (
                "00000000-0000-0000-0000-000000000000",
                None,
                Err("an advertising id that is switched off (all zeros)"),
            ),
        ],
    );
}

#[test]
fn a_hash_is_no_use_to_who_takes_plain_values_only() {
    let hash = sha256("ada.lovelace@example.org");
    assert!(plain_email(&hash, None).is_err());
    assert!(plain_e164(&hash, None).is_err());
    assert_eq!(
        plain_email(" Ada.Lovelace@Example.ORG ", None).as_deref(),
        Ok("ada.lovelace@example.org")
    );
    assert_eq!(plain_e164("020 7946 0123", Some("GB")).as_deref(), Ok("+442079460123"));
}
