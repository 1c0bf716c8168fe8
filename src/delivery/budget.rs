//! How many requests may leave in any 24 hours, counted across runs.
//!
//! What it promises: never more than the limit in any 24 hours, even when a run is killed: requests are
//! booked before they leave, a few at a time, and given back when they were not needed. Hours are counted
//! as a whole, so that what was used comes back up to an hour late, never early.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const HOUR: u64 = 3600;
/// An hour counts until its last moment is 24 hours ago.
const HOURS: u64 = 25;
/// The most that is booked at once.
const MOST_BOOKED: u64 = 100;

/// Requests by the hour they were booked in, counted from 1970.
pub type Booked = BTreeMap<u64, u64>;

/// Keeps what was booked, durably; called before any of it is used.
pub type Keep = Box<dyn Fn(&Booked) -> std::io::Result<()> + Send + Sync>;

/// What one destination may be asked per day.
pub struct Budget {
    limit: u64,
    accounts: Mutex<Accounts>,
    keep: Keep,
}

struct Accounts {
    booked: Booked,
    /// Booked in this hour and not used yet.
    unused: (u64, u64),
}

/// Why a request may not leave.
#[derive(Debug)]
pub(super) enum Exhausted {
    /// Everything is used until then.
    Until(SystemTime),
    /// It could not be booked.
    Unkept(std::io::Error),
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Budget {
    pub fn new(limit: u64, booked: Booked, keep: Keep) -> Self {
        Self { limit, accounts: Mutex::new(Accounts { booked, unused: (0, 0) }), keep }
    }

    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }

    /// Takes one request.
    pub(super) fn take(&self, now: SystemTime) -> Result<(), Exhausted> {
        let hour = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / HOUR;
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        match accounts.unused {
            (own, unused) if own == hour && unused > 0 => {
                accounts.unused.1 -= 1;
                return Ok(());
            }
            _ => accounts.give_back(),
        }
        accounts.booked.retain(|booked, _| booked + HOURS > hour);
        let used: u64 = accounts.booked.values().sum();
        let left = self.limit.saturating_sub(used);
        if left == 0 {
            let first = accounts.booked.keys().next().copied().unwrap_or(hour);
            let free = Duration::from_secs((first + HOURS) * HOUR);
            return Err(Exhausted::Until(UNIX_EPOCH + free));
        }
        let booked = (self.limit / 50).clamp(1, MOST_BOOKED).min(left);
        *accounts.booked.entry(hour).or_default() += booked;
        (self.keep)(&accounts.booked).map_err(Exhausted::Unkept)?;
        accounts.unused = (hour, booked - 1);
        Ok(())
    }
}

impl Accounts {
    fn give_back(&mut self) {
        let (hour, unused) = std::mem::take(&mut self.unused);
        if let Some(booked) = self.booked.get_mut(&hour) {
            *booked = booked.saturating_sub(unused);
        }
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        let accounts = self.accounts.get_mut().unwrap_or_else(PoisonError::into_inner);
        if accounts.unused.1 > 0 {
            accounts.give_back();
            if let Err(error) = (self.keep)(&accounts.booked) {
                tracing::warn!(%error, "Could not give back what is left of the daily limit");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn at(hour: u64, minute: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(hour * HOUR + minute * 60)
    }

    /// A budget that goes on from what was kept, and what it keeps.
    fn budget(limit: u64, booked: &Booked) -> (Budget, Arc<Mutex<Booked>>) {
        let kept = Arc::new(Mutex::new(booked.clone()));
        let keeping = Arc::clone(&kept);
        let keep = move |booked: &Booked| {
            booked.clone_into(&mut keeping.lock().unwrap());
            Ok(())
        };
        (Budget::new(limit, booked.clone(), Box::new(keep)), kept)
    }

    fn taken(budget: &Budget, now: SystemTime) -> u64 {
        (0..).take_while(|_| budget.take(now).is_ok()).count() as u64
    }

    #[test]
    fn no_more_than_the_limit_leaves_in_any_24_hours() {
        let (budget, _) = budget(120, &Booked::new());
        assert_eq!(budget.take(at(0, 59)).map_err(|_| ()), Ok(()));
        assert_eq!(taken(&budget, at(10, 0)), 119);
        let Err(Exhausted::Until(free)) = budget.take(at(24, 58)) else { panic!("one too many") };
        assert_eq!(free, at(25, 0));
        assert_eq!(taken(&budget, at(25, 0)), 1);
        assert_eq!(taken(&budget, at(35, 0)), 119);
    }

    #[test]
    fn what_was_not_used_is_given_back_and_what_a_killed_run_booked_is_not() {
        let (first, kept) = budget(5000, &Booked::new());
        assert!(first.take(at(0, 0)).is_ok());
        let killed = kept.lock().unwrap().clone();
        assert_eq!(killed, Booked::from([(0, 100)]));
        drop(first);
        assert_eq!(*kept.lock().unwrap(), Booked::from([(0, 1)]));
        let (next, _) = budget(5000, &killed);
        assert_eq!(taken(&next, at(1, 0)), 4900);
    }

    #[test]
    fn nothing_leaves_that_could_not_be_booked() {
        let keep = |_: &Booked| Err(std::io::Error::other("disk full"));
        let budget = Budget::new(5, Booked::new(), Box::new(keep));
        assert!(matches!(budget.take(at(0, 0)), Err(Exhausted::Unkept(_))));
    }
}
