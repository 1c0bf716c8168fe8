//! Who may hold how much of `memory_limit`: consumers that can spill share a part of it evenly, so that
//! those that cannot (merges of spilled runs, hash tables) always find the rest.
//!
//! DataFusion's fair pool gives the whole limit to the spilling ones. A sort that then comes to merge
//! its spilled runs finds nothing left, although every sort beside it could make room.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::common::DataFusionError;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, human_readable_size,
};

/// Never panics, never lends more than `limit` but where DataFusion asks without allowing a no.
#[derive(Debug)]
pub struct SharedPool {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Consumers that can spill and hold rows for long.
    sharers: usize,
    spillable: usize,
    passing: usize,
    fixed: usize,
}

/// What a consumer does when it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Spills what it holds.
    Sharer,
    /// Spills one batch on its way from one partition to another.
    Passing,
    /// Fails.
    Fixed,
}

impl Kind {
    fn of(consumer: &MemoryConsumer) -> Self {
        match consumer.can_spill() {
            true if consumer.name().starts_with("RepartitionExec") => Self::Passing,
            true => Self::Sharer,
            false => Self::Fixed,
        }
    }
}

impl SharedPool {
    pub fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What remains for a consumer that holds `held`.
    fn room(&self, state: &State, kind: Kind, held: usize) -> usize {
        let free = self.limit.saturating_sub(state.spillable + state.passing + state.fixed);
        match kind {
            Kind::Fixed => free,
            Kind::Passing => (self.limit / 16).saturating_sub(state.passing).min(free),
            Kind::Sharer => {
                let kept_free = self.limit / 16 * 6;
                let shared = self.limit.saturating_sub(state.fixed.max(kept_free));
                (shared / state.sharers.max(1)).saturating_sub(held)
            }
        }
    }
}

impl State {
    fn held(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Sharer => &mut self.spillable,
            Kind::Passing => &mut self.passing,
            Kind::Fixed => &mut self.fixed,
        }
    }
}

impl MemoryPool for SharedPool {
    fn name(&self) -> &'static str {
        "shared"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        if Kind::of(consumer) == Kind::Sharer {
            self.state().sharers += 1;
        }
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        if Kind::of(consumer) == Kind::Sharer {
            let mut state = self.state();
            state.sharers = state.sharers.saturating_sub(1);
        }
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        *self.state().held(Kind::of(reservation.consumer())) += additional;
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let mut state = self.state();
        let held = state.held(Kind::of(reservation.consumer()));
        *held = held.saturating_sub(shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let kind = Kind::of(reservation.consumer());
        let mut state = self.state();
        let room = self.room(&state, kind, reservation.size());
        if additional > room {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "`{}` holds {} and wanted {} more; {} of {} were left for it",
                reservation.consumer().name(),
                human_readable_size(reservation.size()),
                human_readable_size(additional),
                human_readable_size(room),
                human_readable_size(self.limit),
            )));
        }
        *state.held(kind) += additional;
        Ok(())
    }

    fn reserved(&self) -> usize {
        let state = self.state();
        state.spillable + state.passing + state.fixed
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

impl fmt::Display for SharedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shared(pool_size: {})", human_readable_size(self.limit))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pool() -> Arc<dyn MemoryPool> {
        Arc::new(SharedPool::new(1600))
    }

    #[test]
    fn sorts_that_are_full_leave_room_for_their_merges() {
        let pool = pool();
        let sort = |name: &str| MemoryConsumer::new(name).with_can_spill(true).register(&pool);
        let (one, two) = (sort("one"), sort("two"));
        one.try_grow(500).unwrap();
        two.try_grow(500).unwrap();
        assert!(one.try_grow(1).is_err(), "a sort keeps to its share");
        let merge = MemoryConsumer::new("merge").register(&pool);
        merge.try_grow(600).unwrap();
        assert!(merge.try_grow(1).is_err(), "the limit holds");
        drop((one, two, merge));
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn what_only_passes_through_does_not_shrink_the_shares() {
        let pool = pool();
        let passing = |name: &str| MemoryConsumer::new(name).with_can_spill(true).register(&pool);
        let _exchanges = (passing("RepartitionExec[0]"), passing("RepartitionExec[1]"));
        let sort = MemoryConsumer::new("sort").with_can_spill(true).register(&pool);
        sort.try_grow(1000).unwrap();
    }

    #[test]
    fn a_refusal_says_who_wanted_how_much() {
        let pool = pool();
        let table = MemoryConsumer::new("HashJoinInput").register(&pool);
        let refused = table.try_grow(2048).unwrap_err().strip_backtrace();
        assert!(
            refused.contains("`HashJoinInput` holds 0.0 B and wanted 2.0 KB more"),
            "{refused}"
        );
    }
}
