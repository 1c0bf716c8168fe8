//! A sync whose `list` is another one than before: nothing is sent to either until it is said what is to
//! become of it.

use super::bench::{Asked, Bench};

const SQL: &str = "SELECT user_id FROM users";

async fn told(bench: &mut Bench) -> Vec<String> {
    let outcome = bench.run(&Asked::default()).await;
    bench.told(outcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_list_gets_everybody_or_nothing() {
    let mut bench = Bench::new("cohort", false);
    bench.table("users", "user_id\nu1\nu2\n");
    bench.model("audience", "vip", Some("list = \"old\""), SQL);
    let everybody = ["vip: entered u1 add {}", "vip: entered u2 add {}"];
    assert_eq!(told(&mut bench).await, everybody);

    bench.table("users", "user_id\nu1\nu2\nu3\n");
    bench.model("audience", "vip", Some("list = \"new\""), SQL);
    for _ in 0..2 {
        assert_eq!(
            told(&mut bench).await,
            [
                "vip: skipped",
                "warning[R07]: the `list` of `vip.out` is another one than it was sent to so far",
                "hint: `muster reset vip.out --forget-list` fills the new one; who is on the old one stays there",
            ]
        );
    }

    bench.table("users", "user_id\nu1\nu2\n");
    bench.reset("vip.out");
    assert_eq!(told(&mut bench).await, everybody);
    bench.model("audience", "vip", Some("list = \"new\""), SQL);
    assert_eq!(told(&mut bench).await, ["vip: 2 unchanged"]);
}
