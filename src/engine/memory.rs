//! Who may hold how much of `memory_limit`: consumers that can spill share a part of it evenly, so that
//! those that cannot (merges of spilled runs, hash tables) always find the rest.
//!
//! DataFusion's fair pool gives the whole limit to the spilling ones. A sort that then comes to merge
//! its spilled runs finds nothing left, although every sort beside it could make room. Nor does it tell
//! who needs what: a merge of spilled runs takes all it is given and could do with less.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::common::DataFusionError;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, human_readable_size,
};

use super::exchange::EXCHANGE;

/// Never panics, never lends more than `limit` but where DataFusion asks without allowing a no.
#[derive(Debug)]
pub struct SharedPool {
    limit: usize,
    state: Mutex<State>,
}

/// By [`Kind`].
#[derive(Debug, Default)]
struct State {
    consumers: [usize; 6],
    held: [usize; 6],
}

/// What a consumer does when it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Spills all it holds.
    Sharer,
    /// Merges fewer spilled runs at a time.
    Merge,
    /// Hands on what it has grouped so far.
    Partial,
    /// Spills one batch on its way from one partition to another.
    Passing,
    /// Spills one batch of what is dealt out before anybody reads it.
    Exchange,
    /// Fails.
    Fixed,
}

impl Kind {
    fn of(consumer: &MemoryConsumer) -> Self {
        let begins = |prefix| consumer.name().starts_with(prefix);
        match consumer.can_spill() {
            false if begins("ExternalSorterMerge") => Self::Merge,
            false => Self::Fixed,
            true if begins("RepartitionExec") => Self::Passing,
            true if begins(EXCHANGE) => Self::Exchange,
            true if begins("Partial") => Self::Partial,
            true => Self::Sharer,
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
        let free = self.limit.saturating_sub(state.held.iter().sum());
        // What fails without it comes first; the others have parts of what that leaves.
        let left = self.limit.saturating_sub(state.of(Kind::Fixed));
        let sixteenths = |parts| left / 16 * parts;
        let share =
            |whole: usize| (whole / state.consumers[kind as usize].max(1)).saturating_sub(held);
        let room = match kind {
            Kind::Fixed => free,
            // What a merge yields is merged once more by somebody who may fail. Whoever merges at the same
            // time needs as much, and fails if there is nothing left.
            Kind::Merge => {
                let held = state.of(Kind::Sharer) + state.of(Kind::Partial);
                share(sixteenths(15).saturating_sub(held)).min(free.saturating_sub(sixteenths(1)))
            }
            // Where all the readers have something to read, hardly anything is on its way; much is where
            // one of them is slow. Readers of what was spilled can wait for each other for good
            // (apache/datafusion#24883) unless one of the others has nothing to read.
            Kind::Passing => sixteenths(8).saturating_sub(state.of(Kind::Passing)),
            Kind::Exchange => sixteenths(1).saturating_sub(state.of(Kind::Exchange)),
            Kind::Partial => share(sixteenths(2)),
            Kind::Sharer => share(sixteenths(10).saturating_sub(state.of(Kind::Partial))),
        };
        room.min(free)
    }
}

impl State {
    fn of(&self, kind: Kind) -> usize {
        self.held[kind as usize]
    }
}

impl MemoryPool for SharedPool {
    fn name(&self) -> &'static str {
        "shared"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.state().consumers[Kind::of(consumer) as usize] += 1;
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        let consumers = &mut self.state().consumers[Kind::of(consumer) as usize];
        *consumers = consumers.saturating_sub(1);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.state().held[Kind::of(reservation.consumer()) as usize] += additional;
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let held = &mut self.state().held[Kind::of(reservation.consumer()) as usize];
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
        state.held[kind as usize] += additional;
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.state().held.iter().sum()
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
    fn merges_that_take_what_they_get_leave_some_for_what_follows() {
        let pool = pool();
        let merge = MemoryConsumer::new("ExternalSorterMerge[0]").register(&pool);
        merge.try_grow(1500).unwrap();
        assert!(merge.try_grow(1).is_err());
        MemoryConsumer::new("SortPreservingMergeExec").register(&pool).try_grow(100).unwrap();
    }

    #[test]
    fn merges_leave_as_much_to_each_other() {
        let pool = pool();
        let merge = |name: &str| MemoryConsumer::new(name).register(&pool);
        let (one, two) = (merge("ExternalSorterMerge[0]"), merge("ExternalSorterMerge[1]"));
        one.try_grow(750).unwrap();
        assert!(one.try_grow(1).is_err());
        two.try_grow(750).unwrap();
    }

    #[test]
    fn what_is_dealt_out_before_it_is_read_waits_in_files() {
        let pool = pool();
        let dealing = |name: &str| MemoryConsumer::new(name).with_can_spill(true).register(&pool);
        let exchanges = (dealing("Exchange[0]"), dealing("Exchange[1]"));
        exchanges.0.try_grow(60).unwrap();
        assert!(exchanges.1.try_grow(60).is_err());
        dealing("RepartitionExec[0]").try_grow(800).unwrap();
    }

    #[test]
    fn what_hash_tables_hold_is_not_shared_out() {
        let pool = pool();
        let table = MemoryConsumer::new("HashJoinInput").register(&pool);
        table.try_grow(800).unwrap();
        let sort = MemoryConsumer::new("sort").with_can_spill(true).register(&pool);
        sort.try_grow(500).unwrap();
        assert!(sort.try_grow(1).is_err(), "the rest is for the merge");
        MemoryConsumer::new("ExternalSorterMerge[0]").register(&pool).try_grow(250).unwrap();
    }

    #[test]
    fn tables_that_are_handed_on_early_do_not_shrink_the_shares() {
        let pool = pool();
        let grouping = |name: &str| MemoryConsumer::new(name).with_can_spill(true).register(&pool);
        let partial = grouping("PartialHashAggregateStream[0]");
        let table = grouping("FinalHashAggregateStream[0]");
        table.try_grow(1000).unwrap();
        partial.try_grow(200).unwrap();
        assert!(partial.try_grow(1).is_err());
        assert!(table.try_grow(1).is_err());
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
