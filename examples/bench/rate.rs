//! Never faster than allowed and hardly slower: requests as the destination sees them arrive.

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::data::Lake;
use crate::options::Stage;
use crate::process::Usage;
use crate::project::Project;
use crate::sink::Sink;
use crate::table::{Row, Table, Unit};

const SECOND: Duration = Duration::from_secs(1);
const LATENCIES: [u64; 3] = [10, 200, 1000];

/// What one destination saw.
struct Seen {
    usage: Usage,
    /// Share of the quota that was used after the first second, in percent.
    used: f64,
    /// Most requests in any window of one second.
    fullest: usize,
    in_flight: u64,
}

pub fn measure(stage: &Stage, table: &mut Table) -> Outcome {
    let lake = Lake::of(stage, stage.size(100, 20_000), 100)?;
    let rates: &[u64] = if stage.options.smoke { &[50] } else { &[2, 5, 8, 50, 100, 500, 1000] };
    for rate in rates {
        let mut row = Row::new(format!("rate: {rate}/s"), Unit::Percent("the quota used"));
        for seen in side_by_side(stage, &lake, *rate)?.into_iter().zip(LATENCIES) {
            let (Seen { usage, used, fullest, in_flight }, latency) = seen;
            row.saw(&format!("replies after {latency} ms"), used, usage);
            row.note(format!(
                "{latency} ms: {fullest} in the fullest second of {rate} allowed, {in_flight} in flight at most"
            ));
        }
        table.add(row);
    }
    Ok(())
}

/// The same rate at every latency at once: none of them keeps the machine busy.
fn side_by_side(stage: &Stage, lake: &Lake, rate: u64) -> Outcome<Vec<Seen>> {
    let seconds = stage.size(2, if rate < 50 { 16 } else { 11 });
    let runs = LATENCIES.map(|latency| {
        move || {
            let seen = watch(stage, lake, rate, (latency, rate * seconds));
            seen.map_err(|error| error.to_string())
        }
    });
    std::thread::scope(|scope| {
        let running = runs.map(|run| scope.spawn(run));
        running
            .into_iter()
            .map(|run| Ok(run.join().map_err(|_| "a measurement stopped")??))
            .collect()
    })
}

fn watch(stage: &Stage, lake: &Lake, rate: u64, (latency, users): (u64, u64)) -> Outcome<Seen> {
    let sink = Sink::slow(Duration::from_millis(latency))?;
    let mut project = Project::new(stage, &format!("rate-{rate}-{latency}"))?;
    project.table("users", &lake.path("users.parquet"))?;
    project.sink(&sink.url(), &format!("rate_limit = {rate}\nconcurrency = 4096\n"))?;
    let users = users.min(lake.users);
    let sql = format!("SELECT user_id, score FROM users WHERE user_id < 'u{users:09}'");
    project.computed_trait("score", &sql)?;
    let usage = stage.muster_ends(&["run"], Some(&project.folder))?.usage;
    let arrivals = sink.arrivals();
    if arrivals.len() as u64 != users {
        return Err(format!("{} of {users} requests arrived", arrivals.len()).into());
    }
    Ok(Seen {
        usage,
        used: used(&arrivals, rate),
        fullest: fullest(&arrivals),
        in_flight: sink.in_flight(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn used(arrivals: &[Instant], rate: u64) -> f64 {
    let [first, .., last] = arrivals else { return 0.0 };
    let later = arrivals.partition_point(|at| *at < *first + SECOND);
    let Some(from) = arrivals.get(later).filter(|from| *from < last) else { return 0.0 };
    let reached = (arrivals.len() - 1 - later) as f64 / (*last - *from).as_secs_f64();
    100.0 * reached / rate as f64
}

fn fullest(arrivals: &[Instant]) -> usize {
    let window =
        |first: usize| arrivals[first..].partition_point(|at| *at < arrivals[first] + SECOND);
    (0..arrivals.len()).map(window).max().unwrap_or(0)
}
