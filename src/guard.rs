//! Guards: what stops a sync before it sends anything. Pure.

use crate::finding::Finding;
use crate::project::{Bound, Guard};

/// What a guard looks at.
#[derive(Debug, Clone, Copy)]
pub struct Movement {
    /// Records the destination has before the run.
    pub before: u64,
    /// Records the SQL asks for.
    pub desired: u64,
    /// Records that would leave.
    pub exits: u64,
    /// Records that would enter, leave or change.
    pub changes: u64,
}

/// Why a sync must not go on, if so.
pub fn check(sync: &str, guard: &Guard, movement: Movement) -> Option<Finding> {
    let stopped = |reason: String| {
        Finding::error("G01", format!("a guard stopped `{sync}`: {reason}"))
            .note("nothing of this sync was sent")
            .hint(
                "check the tables and the SQL; if this is right, pass `--allow-large-change` once",
            )
    };
    let Movement { before, desired, exits, changes } = movement;
    if guard.max_exit != Bound::Share(1.0) && desired == 0 && before > 0 && exits > 0 {
        return Some(stopped(format!("the model returns no rows, but {before} were delivered")));
    }
    let most = most(guard.max_exit, before);
    let small = matches!(guard.max_exit, Bound::Share(_)) && before < guard.min_size;
    if !small && exits > most {
        return Some(stopped(format!("{exits} of {before} records would leave, {most} may")));
    }
    if let Some(bound) = guard.max_change {
        let most = self::most(bound, before);
        // The first sync is all change; a share of nothing says nothing about it.
        let first = before == 0 && matches!(bound, Bound::Share(_));
        if !first && changes > most {
            return Some(stopped(format!("{changes} records would change, {most} may")));
        }
    }
    None
}

fn most(bound: Bound, before: u64) -> u64 {
    match bound {
        Bound::Records(most) => most,
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share between 0 and 1 of a count"
        )]
        Bound::Share(share) => (before as f64 * share).floor() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops(guard: Guard, before: u64, desired: u64, exits: u64) -> bool {
        let changes = exits + desired.saturating_sub(before - exits);
        check("a.b", &guard, Movement { before, desired, exits, changes }).is_some()
    }

    #[test]
    fn an_empty_result_never_empties_a_destination() {
        assert!(stops(Guard::default(), 3, 0, 3));
        assert!(!stops(Guard::default(), 0, 0, 0));
    }

    #[test]
    fn more_than_half_of_a_thousand_stops() {
        assert!(stops(Guard::default(), 1000, 499, 501));
        assert!(!stops(Guard::default(), 1000, 500, 500));
        assert!(!stops(Guard::default(), 999, 1, 998));
    }

    #[test]
    fn a_guard_can_be_narrowed() {
        let five_percent = Guard { max_exit: Bound::Share(0.05), min_size: 10, ..Guard::default() };
        assert!(stops(five_percent, 100, 94, 6));
        assert!(!stops(five_percent, 100, 95, 5));
        let few = Guard { max_exit: Bound::Records(3), ..Guard::default() };
        assert!(stops(few, 10, 6, 4));
        let change = Guard { max_change: Some(Bound::Records(10)), ..Guard::default() };
        assert!(stops(change, 0, 11, 0));
    }
}
