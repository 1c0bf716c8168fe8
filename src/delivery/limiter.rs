//! Quotas: how many requests may leave in any window of their length.
//!
//! What it promises: never more than the quota in any half-open window *as we send*, and nearly all
//! of it used. `governor` counts by the generic cell rate algorithm: one permit per interval `T`, and
//! a tolerance `tau` by which a permit may come early. In a window `W` at most `ceil((W + tau) / T)`
//! leave, so `T = (W + tau) / limit` keeps the promise exactly. The tolerance is what timers need,
//! which wake up to a millisecond late and later on a busy machine: without it every late wake-up
//! would be lost for good. A further margin keeps what arrives there within the quota although the
//! way is not equally long for every request.
//!
//! governor counts whole cells only; a permit is therefore many cells, and the tolerance a few.
//! Several quotas hold at once: permits are handed out one after the other, longest window first.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota as Cells, RateLimiter};
use tokio::time::Instant;

use crate::destinations::{Common, Quota, Spec};

/// Share of the window by which a permit may come early.
const TOLERANCE: f64 = 0.010;
/// Share of the window kept free for requests that take different times to arrive.
const MARGIN: f64 = 0.012;
/// Cells per permit where the interval is long enough for them.
const CELLS: f64 = 1000.0;

/// A quota whose limit need not be whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Allowance {
    pub(super) limit: f64,
    pub(super) per: Duration,
}

/// Hands out permits under all quotas of one destination.
#[derive(Debug)]
pub(super) struct Limiter {
    /// Longest window first.
    buckets: Vec<Bucket>,
    /// Whoever holds it takes the next permit; the others queue up in order.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Bucket {
    /// `None`: every request counts.
    endpoint: Option<&'static str>,
    limiter: RateLimiter<NotKeyed, InMemoryState, SinceStart, NoOpMiddleware<Duration>>,
    cells: NonZeroU32,
    start: Instant,
}

/// tokio's clock, so that tests run on paused time.
#[derive(Debug, Clone)]
struct SinceStart(Instant);

impl Clock for SinceStart {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The quotas that hold for a configured destination: `rate_limit` replaces the first one.
pub(super) fn allowances(spec: &Spec, common: &Common) -> Vec<Allowance> {
    let second = Duration::from_secs(1);
    let configured = common.rate_limit.map(|limit| Allowance { limit, per: second });
    let published = spec.quotas.iter().copied().map(Allowance::from);
    let skipped = usize::from(configured.is_some());
    configured.into_iter().chain(published.skip(skipped)).collect()
}

/// Requests per second that all quotas together allow in the long run.
pub(super) fn sustained_rate(allowances: &[Allowance]) -> Option<f64> {
    allowances
        .iter()
        .map(|allowance| allowance.limit / allowance.per.as_secs_f64())
        .min_by(f64::total_cmp)
}

impl From<Quota> for Allowance {
    fn from(quota: Quota) -> Self {
        Self { limit: f64::from(quota.limit), per: quota.per }
    }
}

impl Limiter {
    pub(super) fn new(allowances: &[Allowance], endpoints: &[(&'static str, Quota)]) -> Self {
        let all = allowances.iter().map(|allowance| (None, *allowance));
        let own = endpoints.iter().map(|(name, quota)| (Some(*name), Allowance::from(*quota)));
        let mut sorted: Vec<_> = all.chain(own).collect();
        sorted.sort_by_key(|(_, allowance)| std::cmp::Reverse(allowance.per));
        let start = Instant::now();
        let buckets = sorted
            .iter()
            .enumerate()
            .map(|(index, (endpoint, allowance))| {
                // A permit of a longer window may wait for a shorter one before it is used.
                let meets = |other: Option<&str>| {
                    endpoint.is_none() || other.is_none() || other == *endpoint
                };
                let later = sorted[index + 1..].iter().filter(|(other, _)| meets(*other));
                let waits = later.map(|(_, shorter)| interval(*shorter, 0.0));
                Bucket::new(*endpoint, *allowance, waits.fold(0.0, f64::max), start)
            })
            .collect();
        Self { buckets, turn: tokio::sync::Mutex::new(()) }
    }

    /// Resolves when one request to this endpoint may leave now.
    pub(super) async fn permit(&self, endpoint: Option<&'static str>) {
        let counts = |bucket: &&Bucket| bucket.endpoint.is_none() || bucket.endpoint == endpoint;
        if !self.buckets.iter().any(|bucket| counts(&bucket)) {
            return;
        }
        let _turn = self.turn.lock().await;
        for bucket in self.buckets.iter().filter(counts) {
            while let Some(at) = bucket.refused_until() {
                tokio::time::sleep_until(at).await;
            }
        }
    }
}

impl Bucket {
    fn new(
        endpoint: Option<&'static str>,
        allowance: Allowance,
        wait: f64,
        start: Instant,
    ) -> Self {
        let interval = interval(allowance, wait);
        let cells = (interval * 1e6).clamp(1.0, CELLS).floor();
        let cell = interval / cells;
        let tolerance = (allowance.per.as_secs_f64() * TOLERANCE / cell).floor();
        let cells = whole(cells);
        let quota = Cells::with_period(Duration::from_secs_f64(cell).max(Duration::from_nanos(1)))
            .unwrap_or(Cells::per_second(NonZeroU32::MIN))
            .allow_burst(cells.saturating_add(whole(tolerance + 1.0).get() - 1));
        let limiter = RateLimiter::direct_with_clock(quota, SinceStart(start));
        Self { endpoint, limiter: limiter.with_middleware(), cells, start }
    }

    /// Takes a permit, or says when to ask again.
    fn refused_until(&self) -> Option<Instant> {
        match self.limiter.check_n(self.cells) {
            Ok(Ok(())) => None,
            Ok(Err(refusal)) => Some(self.start + refusal.earliest_possible()),
            // More cells than the burst holds: never, by construction; wait rather than send.
            Err(_) => Some(Instant::now() + Duration::from_secs(1)),
        }
    }
}

/// Seconds between two permits, when a permit may be used up to `wait` seconds after it was given.
fn interval(allowance: Allowance, wait: f64) -> f64 {
    let window = allowance.per.as_secs_f64();
    let seconds = (window * (1.0 + TOLERANCE + MARGIN) + wait) / allowance.limit;
    // A limit of zero or of nonsense never sends; a day is as good as never and can be counted.
    if seconds.is_finite() && seconds > 0.0 { seconds.min(1e6) } else { 1e6 }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the range before"
)]
fn whole(number: f64) -> NonZeroU32 {
    NonZeroU32::new(number.clamp(1.0, f64::from(u32::MAX)) as u32).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moments at which permits come when somebody always waits for the next.
    async fn moments(allowances: &[Allowance], seconds: f64) -> Vec<f64> {
        let limiter = Limiter::new(allowances, &[]);
        let start = Instant::now();
        let mut moments = Vec::new();
        loop {
            limiter.permit(None).await;
            let at = start.elapsed().as_secs_f64();
            if at >= seconds {
                return moments;
            }
            moments.push(at);
        }
    }

    /// The most moments in any half-open window.
    fn most(moments: &[f64], window: f64) -> usize {
        let mut first = 0;
        let mut most = 0;
        for (last, at) in moments.iter().enumerate() {
            while at - moments[first] >= window {
                first += 1;
            }
            most = most.max(last + 1 - first);
        }
        most
    }

    #[tokio::test(start_paused = true)]
    async fn no_window_exceeds_the_quota_and_nearly_all_of_it_is_used() {
        let second = Duration::from_secs(1);
        for limit in [0.5, 2.0, 5.0, 8.0, 50.0, 100.0, 500.0, 1000.0] {
            let moments = moments(&[Allowance { limit, per: second }], 31.0).await;
            let most = most(&moments, f64::max(1.0, 1.0 / limit));
            assert!(most as f64 <= limit.max(1.0), "{limit}/s: {most} in one window");
            let used = moments.iter().filter(|at| **at >= 1.0).count();
            let least = (30.0 * limit * 0.97).floor();
            assert!(used as f64 >= least, "{limit}/s: {used} used of {}", 30.0 * limit);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_not_made_up_for() {
        let limiter = Limiter::new(&[Allowance { limit: 100.0, per: Duration::from_secs(1) }], &[]);
        let start = Instant::now();
        let mut moments = Vec::new();
        for pause in [0, 10, 3] {
            tokio::time::advance(Duration::from_secs(pause)).await;
            for _ in 0..250 {
                limiter.permit(None).await;
                moments.push(start.elapsed().as_secs_f64());
            }
        }
        assert!(most(&moments, 1.0) <= 100);
    }

    #[tokio::test(start_paused = true)]
    async fn several_quotas_hold_at_once() {
        let quotas = [(2.0, 1), (10.0, 20), (25.0, 60)]
            .map(|(limit, seconds)| Allowance { limit, per: Duration::from_secs(seconds) });
        let moments = moments(&quotas, 600.0).await;
        for Allowance { limit, per } in quotas {
            let most = most(&moments, per.as_secs_f64());
            assert!(most as f64 <= limit, "{most} in {per:?}");
        }
        assert!(moments.len() >= 235, "{} used of 250", moments.len());
    }

    #[tokio::test(start_paused = true)]
    async fn endpoints_have_quotas_of_their_own_below_that_of_all() {
        let second = Duration::from_secs(1);
        let all = [Allowance { limit: 10.0, per: second }];
        let limiter =
            Limiter::new(&all, &[("bulk", Quota::per_second(3)), ("one", Quota::per_second(8))]);
        let start = Instant::now();
        let moments = std::sync::Mutex::new(Vec::new());
        let calls = |endpoint: &'static str| {
            let (limiter, moments) = (&limiter, &moments);
            async move {
                for _ in 0..60 {
                    limiter.permit(Some(endpoint)).await;
                    moments.lock().unwrap().push((endpoint, start.elapsed().as_secs_f64()));
                }
            }
        };
        tokio::join!(calls("bulk"), calls("one"));
        let moments = moments.into_inner().unwrap();
        let of = |endpoint: Option<&str>| -> Vec<f64> {
            let wanted = moments.iter().filter(|(name, _)| endpoint.is_none_or(|own| own == *name));
            wanted.map(|(_, at)| *at).collect()
        };
        assert!(most(&of(None), 1.0) <= 10);
        assert!(most(&of(Some("bulk")), 1.0) <= 3);
        assert!(most(&of(Some("one")), 1.0) <= 8);
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_are_served_in_order() {
        let limiter = Limiter::new(&[Allowance { limit: 5.0, per: Duration::from_secs(1) }], &[]);
        let order = std::sync::Mutex::new(Vec::new());
        futures::future::join_all((0..20).map(|place| {
            let (limiter, order) = (&limiter, &order);
            async move {
                limiter.permit(None).await;
                order.lock().unwrap().push(place);
            }
        }))
        .await;
        assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn rate_limit_replaces_the_first_quota() {
        let quotas = [Quota::per_second(10), Quota { limit: 100, per: Duration::from_mins(1) }];
        assert_eq!(sustained_rate(&quotas.map(Allowance::from)), Some(100.0 / 60.0));
        assert_eq!(sustained_rate(&[]), None);
    }
}
