//! Never faster than the destination allows, and hardly slower: rates as the destination sees them.

use std::time::{Duration, Instant};

use crate::faults::{Answer, RetryAfter};
use crate::process::Alone;
use crate::project::{TempProject, numbered_users};
use crate::sink::Sink;

const SECOND: Duration = Duration::from_secs(1);

/// `count` users, one request each.
fn crowd(sink: &Sink, count: usize, options: &str) -> TempProject {
    let project = TempProject::new();
    project
        .table_csv("users", &numbered_users(count))
        .trait_model("scores", r#""crm""#, "SELECT user_id, score FROM users")
        .webhook("crm", &sink.url(), options);
    project
}

fn arrivals(sink: &Sink) -> Vec<Instant> {
    let mut arrivals: Vec<_> = sink.requests().iter().map(|request| request.arrived).collect();
    arrivals.sort();
    arrivals
}

/// The most requests in any window of one second.
fn fullest_window(arrivals: &[Instant]) -> usize {
    let within = |first: Instant| move |at: &&Instant| **at < first + SECOND;
    (0..arrivals.len())
        .map(|first| arrivals[first..].iter().take_while(within(arrivals[first])).count())
        .max()
        .unwrap_or(0)
}

/// Asserts that `sink` was never asked for more than `limit` a second (one more is forgiven, for what
/// the kernel does to arrival times) and that at least 93 % of it were used.
#[track_caller]
fn assert_rate(sink: &Sink, limit: usize, expected: usize) {
    let arrivals = arrivals(sink);
    assert_eq!(arrivals.len(), expected);
    let fullest = fullest_window(&arrivals);
    assert!(fullest <= limit + 1, "{fullest} requests within one second, the limit is {limit}");
    let elapsed = arrivals[expected - 1] - arrivals[0];
    let reached = (expected - 1) as f64 / elapsed.as_secs_f64();
    let used = reached / limit as f64;
    assert!(used >= 0.93, "only {reached:.1} requests a second, the limit is {limit}");
}

#[test]
fn twenty_a_second_are_never_exceeded_and_well_used() {
    let _alone = Alone::on_this_machine();
    let sink = Sink::start();
    crowd(&sink, 60, "rate_limit = 20").run(&[]);
    assert_rate(&sink, 20, 60);
}

#[test]
fn a_hundred_a_second_are_never_exceeded_and_well_used_however_slow_the_replies() {
    let _alone = Alone::on_this_machine();
    let sink = Sink::start();
    sink.latency(Duration::from_millis(80));
    crowd(&sink, 300, "rate_limit = 100").run(&[]);
    assert_rate(&sink, 100, 300);
}

#[test]
fn all_syncs_of_a_destination_share_its_limit() {
    let _alone = Alone::on_this_machine();
    let sink = Sink::start();
    let project = crowd(&sink, 30, "rate_limit = 20");
    project.trait_model(
        "doubles",
        r#"{ to = "crm", as = "track" }"#,
        "SELECT user_id, score * 2 AS double_score FROM users",
    );
    project.run(&[]);
    assert_rate(&sink, 20, 60);
}

#[test]
fn retry_after_seconds_closes_the_gate() {
    let sink = Sink::start();
    sink.script([Answer::Throttle(RetryAfter::Seconds(2))]);
    crowd(&sink, 3, "rate_limit = 1000\nconcurrency = 1").run(&[]);
    let arrivals = arrivals(&sink);
    assert_eq!(arrivals.len(), 4);
    assert!(arrivals[1] - arrivals[0] >= 2 * SECOND, "{:?}", arrivals[1] - arrivals[0]);
}

#[test]
fn retry_after_a_date_closes_the_gate() {
    let sink = Sink::start();
    sink.script([Answer::Throttle(RetryAfter::Date(3 * SECOND))]);
    crowd(&sink, 3, "rate_limit = 1000\nconcurrency = 1").run(&[]);
    let arrivals = arrivals(&sink);
    assert_eq!(arrivals.len(), 4);
    // A date has no fractions: three seconds from now may say a little more than two.
    assert!(arrivals[1] - arrivals[0] >= 2 * SECOND, "{:?}", arrivals[1] - arrivals[0]);
}

#[test]
fn being_throttled_costs_no_attempt() {
    let sink = Sink::start();
    sink.script(vec![Answer::Throttle(RetryAfter::Seconds(0)); 12]);
    let project = crowd(&sink, 1, "rate_limit = 1000\nretry = { attempts = 1, for = \"2s\" }");
    let report = project.run(&[]);
    assert_eq!((report.total("delivered"), sink.arrived()), (1, 13));
}

#[test]
fn a_throttled_destination_does_not_slow_another() {
    let (slow, fast) = (Sink::start(), Sink::start());
    slow.script([Answer::Throttle(RetryAfter::Seconds(2))]);
    let project = crowd(&slow, 20, "rate_limit = 1000\nconcurrency = 1");
    project.webhook("fast", &fast.url(), "rate_limit = 1000").trait_model(
        "scores",
        r#""crm", "fast""#,
        "SELECT user_id, score FROM users",
    );
    project.run(&[]);
    let reopened = arrivals(&slow)[1];
    assert_eq!(arrivals(&fast).len(), 20);
    assert!(arrivals(&fast)[19] < reopened);
}

#[test]
fn a_daily_limit_holds_across_runs() {
    let sink = Sink::start();
    let project = crowd(&sink, 9, "daily_limit = 5");
    project.muster(&["plan"]).exits(0).says(&["warning[R08]", "9 requests", "5 in any 24 hours"]);
    let report = project.run_exits(1, &[]);
    assert_eq!(report.outcome("scores.crm"), [5, 0, 4]);
    let again = project.muster(&["run"]).exits(1);
    again.says(&["warning[R01]", "5 requests of the last 24 hours are used up", "before 20"]);
    assert_eq!(sink.requests().len(), 5);
    // Once those hours are over, the rest goes.
    let kept = project.read(".muster/budgets/crm.json");
    let (hour, count) = kept.trim_matches(['{', '}']).split_once(':').unwrap();
    assert_eq!(count, "5");
    let hour: u64 = hour.trim_matches('"').parse().unwrap();
    project.file(".muster/budgets/crm.json", format!("{{\"{}\":5}}", hour - 25));
    assert_eq!(project.run(&[]).outcome("scores.crm"), [4, 0, 0]);
}
