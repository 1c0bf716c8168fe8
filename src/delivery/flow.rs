//! How many requests may be in flight: as many as the rate needs at the latency that is observed,
//! twice over, and never more than the ceiling. What cannot be used would only pile up over there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Until the first reply.
const ASSUMED_LATENCY: Duration = Duration::from_secs(1);
/// Weight of the newest observation.
const NEWEST: f64 = 0.1;
const FEWEST: usize = 4;

#[derive(Debug)]
pub(super) struct Flow {
    ceiling: usize,
    /// Requests per second; `None`: unlimited.
    rate: Option<f64>,
    /// Seconds as bits of an `f64`; zero until the first reply.
    latency: AtomicU64,
}

impl Flow {
    pub(super) fn new(ceiling: usize, rate: Option<f64>) -> Self {
        Self { ceiling: ceiling.max(1), rate, latency: AtomicU64::new(0) }
    }

    /// Remembers how long a reply took, as a moving average. Two at once may lose one observation.
    pub(super) fn observed(&self, latency: Duration) {
        let latency = latency.as_secs_f64();
        let average = match f64::from_bits(self.latency.load(Ordering::Relaxed)) {
            0.0 => latency,
            before => before + (latency - before) * NEWEST,
        };
        self.latency.store(average.to_bits(), Ordering::Relaxed);
    }

    /// Batches to journal together: enough to hide the disk behind the requests, and no more, since
    /// what is journaled and lost in a crash is unsettled.
    pub(super) fn ahead(&self) -> usize {
        match self.rate {
            Some(_) => self.limit().clamp(8, 1024),
            None => (4 * self.ceiling).clamp(64, 1024),
        }
    }

    /// Requests in flight at most, right now.
    pub(super) fn limit(&self) -> usize {
        let Some(rate) = self.rate else { return self.ceiling };
        let latency = match f64::from_bits(self.latency.load(Ordering::Relaxed)) {
            0.0 => ASSUMED_LATENCY.as_secs_f64(),
            seen => seen,
        };
        let needed = (rate * latency * 2.0).ceil().clamp(0.0, 1e9);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the range before"
        )]
        let needed = needed as usize + FEWEST;
        needed.min(self.ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_follows_rate_and_latency() {
        let flow = Flow::new(1024, Some(100.0));
        assert_eq!(flow.limit(), 204);
        for _ in 0..200 {
            flow.observed(Duration::from_millis(10));
        }
        assert_eq!(flow.limit(), 6);
        for _ in 0..200 {
            flow.observed(Duration::from_secs(2));
        }
        assert_eq!(flow.limit(), 404);
    }

    #[test]
    fn a_thousand_a_second_at_a_second_each_fits_under_the_ceiling() {
        assert_eq!(Flow::new(1024, Some(1000.0)).limit(), 1024);
        assert_eq!(Flow::new(2, Some(0.5)).limit(), 2);
        assert_eq!(Flow::new(64, None).limit(), 64);
    }
}
