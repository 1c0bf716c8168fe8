//! The gate of a destination: closed while the destination asked us to slow down. Everybody waits at
//! it, a request that waits costs no attempt, and closing never shortens an earlier closing.
//!
//! When the destination does not say for how long, the pauses double from one second to one minute
//! while it keeps asking. Requests that were already on their way when the gate closed say nothing
//! new: only a request sent after it opened again makes the next pause longer, or ends the series.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    until: Option<Instant>,
    /// The pause that was last chosen here, and when.
    pause: Option<(Duration, Instant)>,
}

impl Gate {
    /// When the gate opens, if it is closed now.
    pub(super) fn closed_until(&self) -> Option<Instant> {
        self.state().until.filter(|until| *until > Instant::now())
    }

    /// Closes the gate, or keeps it closed if it already is for longer.
    pub(super) fn close_until(&self, until: Instant) {
        let mut state = self.state();
        state.until = state.until.max(Some(until));
    }

    /// Closes the gate after a request sent at `sent` was throttled, and says when it opens.
    pub(super) fn throttled(&self, sent: Instant, retry_after: Option<Duration>) -> Instant {
        let now = Instant::now();
        let mut state = self.state();
        let chosen = match (retry_after, state.pause) {
            (Some(asked), _) => asked,
            (None, Some((_, at))) if sent <= at => Duration::ZERO,
            (None, last) => {
                let doubled = last.map_or(FIRST_PAUSE, |(pause, _)| (pause * 2).min(LONGEST_PAUSE));
                state.pause = Some((doubled, now));
                doubled
            }
        };
        // A century is as good as for ever and can be added.
        let until = now + chosen.min(Duration::from_hours(24 * 36_500));
        drop(state);
        self.close_until(until);
        self.closed_until().unwrap_or(until)
    }

    /// A request sent at `sent` was taken: the next pause is a short one again.
    pub(super) fn passed(&self, sent: Instant) {
        let mut state = self.state();
        if state.pause.is_some_and(|(_, at)| sent > at) {
            state.pause = None;
        }
    }

    /// Resolves when the gate is open.
    pub(super) async fn opened(&self) {
        while let Some(until) = self.closed_until() {
            tokio::time::sleep_until(until).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn everybody_waits_and_closing_never_shortens() {
        let gate = Gate::default();
        let start = Instant::now();
        gate.close_until(start + 10 * SECOND);
        gate.close_until(start + 3 * SECOND);
        futures::future::join_all((0..5).map(|_| gate.opened())).await;
        assert_eq!(start.elapsed(), 10 * SECOND);
        assert_eq!(gate.closed_until(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn closing_while_somebody_waits_prolongs_the_wait() {
        let gate = Gate::default();
        let start = Instant::now();
        gate.close_until(start + 2 * SECOND);
        let prolong = async {
            tokio::time::sleep(SECOND).await;
            gate.close_until(start + 7 * SECOND);
        };
        tokio::join!(gate.opened(), prolong);
        assert_eq!(start.elapsed(), 7 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_while_the_destination_keeps_asking() {
        let gate = Gate::default();
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            let sent = Instant::now();
            assert_eq!(gate.throttled(sent, None), Instant::now() + expected * SECOND);
            // Others that were on their way at the same time change nothing.
            tokio::time::advance(Duration::from_millis(5)).await;
            gate.throttled(sent, None);
            gate.opened().await;
        }
        gate.passed(Instant::now());
        assert_eq!(gate.throttled(Instant::now(), None), Instant::now() + SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn the_destination_says_for_how_long() {
        let gate = Gate::default();
        let now = Instant::now();
        assert_eq!(gate.throttled(now, Some(30 * SECOND)), now + 30 * SECOND);
        assert_eq!(gate.throttled(now, Some(SECOND)), now + 30 * SECOND);
    }
}
