//! List grain under faults, through the whole pipeline: whatever was refused or lost on the way, one
//! quiet run makes the list equal the SQL, members being what the platform tells apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use proptest::prelude::*;

use super::bench::{Asked, Bench};

const FATES: [Option<&str>; 4] = [None, None, Some("refused"), Some("lost")];

/// Who there is: adult or not, email, phone. Few of both, so that members share them.
type World = BTreeMap<u8, (bool, Option<u8>, Option<u8>)>;

/// The list as the platform holds it: whatever finds somebody, each on its own.
#[derive(Debug, Default, PartialEq)]
struct Remote(BTreeSet<String>);

impl Remote {
    /// `arrives` says of a line whether the platform heard it.
    fn hear(&mut self, sent: &[String], arrives: impl Fn(&str) -> bool) {
        for line in sent {
            let words: Vec<&str> = line.splitn(5, ' ').collect();
            let [_, _, subject, verb, fields] = words[..] else { panic!("{line}") };
            let found: BTreeMap<String, String> = serde_json::from_str(fields).unwrap();
            let found = found.iter().map(|(field, value)| format!("{field} {value}"));
            match verb {
                _ if !arrives(subject) => {}
                "add" => self.0.extend(found),
                _ => found.for_each(|found| _ = self.0.remove(&found)),
            }
        }
    }
}

fn wanted(world: &World) -> Remote {
    let members = world.values().filter(|(adult, ..)| *adult);
    let found = members.flat_map(|(_, email, phone)| {
        let email = email.map(|email| format!("email e{email}@x.org"));
        email.into_iter().chain(phone.map(|phone| format!("phone 1{phone}")))
    });
    Remote(found.collect())
}

fn shop() -> Bench {
    let bench = Bench::new("list", false);
    bench.write(
        "queries/identifiers.sql",
        "SELECT user_id, 'email' AS type, email AS value FROM users WHERE email IS NOT NULL",
    );
    bench.write("queries/profiles.sql", "SELECT user_id, phone FROM users");
    let sql = "SELECT user_id FROM users WHERE adult = 1";
    bench.model("audience", "adults", Some(""), sql);
    bench
}

/// Written differently by each user; the platform's normalisation makes them one.
fn set(bench: &Bench, world: &World) {
    let mut rows = "user_id,adult,email,phone\nnobody,0,n@x.org,+9\n".to_owned();
    for (user, (adult, email, phone)) in world {
        let case = if user % 2 == 0 { "e" } else { "E" };
        let email = email.map(|email| format!("{case}{email}@X.org")).unwrap_or_default();
        let phone = phone.map(|phone| format!("+1 ({phone}) {}", "-".repeat(usize::from(*user))));
        writeln!(rows, "u{user},{},{email},{}", u8::from(*adult), phone.unwrap_or_default())
            .unwrap();
    }
    bench.table("users", &rows);
}

fn worlds() -> impl Strategy<Value = Vec<World>> {
    let one = (any::<bool>(), proptest::option::of(0_u8..3), proptest::option::of(0_u8..2));
    proptest::collection::vec(proptest::collection::btree_map(0_u8..6, one, 0..6), 1..4)
}

/// One run in which each subject has its fate; of what was lost, half arrived.
async fn suffer(bench: &mut Bench, remote: &mut Remote, fates: &[u8]) {
    let fate = |user: usize| FATES[usize::from(fates[user % fates.len()]) % FATES.len()];
    let named = (0..6).filter_map(|user| Some((format!("u{user}"), fate(user)?)));
    let asked = Asked { allow_large_change: true, fates: named.collect(), ..Asked::default() };
    bench.run(&asked).await.unwrap();
    remote.hear(&bench.sent(), |subject| {
        let user: usize = subject[1..].parse().unwrap();
        match fate(user) {
            None => true,
            Some("lost") => fates[user % fates.len()] >= 4,
            Some(_) => false,
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_of_a_list_converges(
        worlds in worlds(),
        fates in proptest::collection::vec(0_u8..8, 1..7),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut bench, mut remote) = (shop(), Remote::default());
            for world in &worlds {
                set(&bench, world);
                suffer(&mut bench, &mut remote, &fates).await;
            }
            let quiet =
                Asked { allow_large_change: true, retry_rejected: true, ..Asked::default() };
            bench.run(&quiet).await.unwrap();
            remote.hear(&bench.sent(), |_| true);
            assert_eq!(remote, wanted(&worlds[worlds.len() - 1]));
            bench.run(&quiet).await.unwrap();
            assert_eq!(bench.sent(), [""; 0]);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blank_country_is_none() {
    let bench = Bench::new("list", false);
    bench.write(
        "muster.toml",
        "[project]\nname = \"golden\"\ndata = \"data\"\n\n[destinations.out]\ntype = \"tiktok_audiences\"\n\
         access_token = \"token\"\nadvertiser_id = \"71\"\nmatch_by = [\"phone\"]\ncountry = \"AT\"\n",
    );
    bench.table("users", "user_id,phone,country\nu1,0664 1234567,AT\nu2,0664 7654321,DE\n");
    let profiles = |country: &str| {
        let sql = format!("SELECT user_id, phone, {country} AS country FROM users");
        bench.write("queries/profiles.sql", &sql);
    };
    bench.model("audience", "adults", Some("guard = false"), "SELECT user_id FROM users");
    for country in ["country", "NULL", "' '"] {
        profiles(country);
        let told = bench.planned().await;
        assert!(!told.contains("no country code"), "{country}: {told}");
    }
    profiles("'Atlantis'");
    assert!(bench.planned().await.contains("no country code"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_shares_a_record_does_not_share_their_columns() {
    let mut bench = shop();
    let sql = "SELECT user_id, forename, surname FROM users";
    bench.model("audience", "adults", Some(""), sql);
    bench.table(
        "users",
        "user_id,email,phone,forename,surname\nu1,e@x.org,,Zoe,Ames\nu2,E@x.org,,Ada,Young\nu3,f@x.org,,,Berg\n",
    );
    bench.run(&Asked::default()).await.unwrap();
    assert_eq!(
        bench.sent(),
        [
            r#"adults: entered u1 add {"email":"e@x.org"} {"forename":"Zoe","surname":"Ames"}"#,
            r#"adults: entered u3 add {"email":"f@x.org"} {"surname":"Berg"}"#,
        ]
    );
}
