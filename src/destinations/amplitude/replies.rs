//! What Amplitude's replies mean, row by row.
//!
//! What it promises: rows that a refusal names are set aside with its reason, for good or until the
//! user may send again; a refusal that names none concerns the request as a whole. Only Amplitude's
//! own word is success.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::super::portions::Verdict;
use crate::delivery::{Response, standard};
use crate::destinations::{Fault, Outcome};

/// What became of one request.
#[derive(Debug)]
pub(super) enum Answer {
    /// Everything arrived, but perhaps for a number of rows that Amplitude does not count.
    Taken { unaccounted: u64 },
    /// Nothing is known to have arrived, because of the rows that are named.
    HeldUp(Vec<Verdict>),
}

#[derive(Debug, Deserialize)]
struct Success {
    code: u16,
    events_ingested: Option<u64>,
}

/// A refusal: positions of events by what is wrong with them, and rates by user.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: String,
    events_with_missing_fields: BTreeMap<String, Vec<usize>>,
    events_with_invalid_fields: BTreeMap<String, Vec<usize>>,
    events_with_invalid_id_lengths: BTreeMap<String, Vec<usize>>,
    silenced_events: Vec<usize>,
    throttled_events: Vec<usize>,
    throttled_users: BTreeMap<String, serde::de::IgnoredAny>,
    exceeded_daily_quota_users: BTreeMap<String, serde::de::IgnoredAny>,
}

/// For how long Amplitude wants to hear nothing of a user who sends too much.
const PAUSE: Duration = Duration::from_secs(30);
/// The quota of a day lies in the last 24 hours.
const DAY: Duration = Duration::from_hours(24);

/// Lets refusals through that name rows: [`read`] makes verdicts of them.
pub(super) fn readable(response: &Response) -> Result<(), Fault> {
    let refusal = || response.json::<Refusal>().unwrap_or_default();
    match response.status {
        200 => Ok(()),
        201..=299 => Err(Fault::Protocol { reason: response.reason() }),
        400 | 429 if refusal().names_rows() => Ok(()),
        400 if refusal().error.to_lowercase().contains("api key") => {
            Err(Fault::Denied { reason: response.reason() })
        }
        _ => standard(response),
    }
}

/// Reads a reply to rows of these users, or groups.
pub(super) fn read(response: &Response, users: &[&str]) -> Result<Answer, Fault> {
    if response.status != 200 {
        let refusal: Refusal = response.json()?;
        return Ok(Answer::HeldUp(refusal.verdicts(users)));
    }
    // The form for groups answers with a word.
    if response.body.trim_ascii() == b"success" {
        return Ok(Answer::Taken { unaccounted: 0 });
    }
    let success: Success = response.json()?;
    let sent = users.len() as u64;
    match success {
        // What Amplitude counts may be more than was sent, in recordings at least: its word counts.
        Success { code: 200, events_ingested } => {
            Ok(Answer::Taken { unaccounted: sent.saturating_sub(events_ingested.unwrap_or(sent)) })
        }
        _ => Err(Fault::Protocol { reason: response.reason() }),
    }
}

impl Refusal {
    fn names_rows(&self) -> bool {
        let fields = self.wrong_fields().any(|(_, _, positions)| !positions.is_empty());
        let positions = !self.silenced_events.is_empty() || !self.throttled_events.is_empty();
        let users = !self.throttled_users.is_empty() || !self.exceeded_daily_quota_users.is_empty();
        fields || positions || users
    }

    fn wrong_fields(&self) -> impl Iterator<Item = (&'static str, &str, &[usize])> {
        [
            ("lacks", &self.events_with_missing_fields),
            ("has an invalid", &self.events_with_invalid_fields),
            ("has a too short", &self.events_with_invalid_id_lengths),
        ]
        .into_iter()
        .flat_map(|(fact, fields)| {
            fields.iter().map(move |(field, positions)| (fact, field.as_str(), &positions[..]))
        })
    }

    fn verdicts(&self, users: &[&str]) -> Vec<Verdict> {
        let wrong = self.wrong_fields().flat_map(|(fact, field, positions)| {
            let reason = format!("it {fact} `{field}`: {}", self.error);
            positions.iter().map(move |position| Verdict::rejected(*position, reason.clone()))
        });
        let silenced = self.silenced_events.iter();
        let silenced =
            silenced.map(|position| Verdict::rejected(*position, "Amplitude silences it"));
        wrong.chain(silenced).chain(self.slowed(users)).collect()
    }

    /// Rows of users who are to wait.
    fn slowed(&self, users: &[&str]) -> impl Iterator<Item = Verdict> {
        let of = |slow: &BTreeMap<String, serde::de::IgnoredAny>| -> Vec<usize> {
            let rows = users.iter().enumerate().filter(|(_, user)| slow.contains_key(**user));
            rows.map(|(position, _)| position).collect()
        };
        let parked = of(&self.exceeded_daily_quota_users);
        let mut slow = of(&self.throttled_users);
        slow.extend(&self.throttled_events);
        slow.retain(|position| !parked.contains(position));
        slow.sort_unstable();
        slow.dedup();
        let until = |after, fact: &str| {
            let reason = format!("Amplitude has taken too many events of this user {fact}");
            move |piece| Verdict {
                piece,
                outcome: Outcome::Retry { after: Some(after), reason: reason.clone() },
            }
        };
        let parked = parked.into_iter().map(until(DAY, "today"));
        slow.into_iter().map(until(PAUSE, "for the moment")).chain(parked)
    }
}
