//! Syncs that need not be computed: nothing they are made from changed since a run left nothing to say.
//! Whatever is not certain is computed.

use chrono::{DateTime, Utc};

use super::prepare::Prepared;
use super::{Passage, Refused, Request};
use crate::destinations::Configured;
use crate::finding::Finding;
use crate::plan;
use crate::state::Quiet;

/// What a sync is computed from is the same as when nothing was left to say: then it would say nothing.
pub(super) fn rest(
    prepared: &Prepared<'_>,
    passages: &mut [Passage],
    request: &Request,
) -> Result<(), Refused> {
    for passage in passages.iter_mut().filter(|passage| passage.record.skipped.is_none()) {
        let options = options(prepared, &passage.sync, request.now);
        passage.fingerprint = prepared.lake.fingerprint(&passage.sync.model, &options, request.now);
        if !passage.rests(request) {
            passage.state.verify()?;
        }
    }
    Ok(())
}

/// Everything beside SQL and tables that the records of a sync depend on.
fn options(prepared: &Prepared<'_>, sync: &plan::Sync, now: DateTime<Utc>) -> String {
    let configured = prepared.destinations.get(&sync.destination);
    let needs =
        configured.map(|made| (made.spec.kind, made.spec.profile, made.required.as_slice()));
    // Where members are forgotten, some of them are due again every day.
    let day = sync.forgets.map(|_| now.date_naive());
    let matching = configured.map(|made| (matched(made), made.country.as_deref()));
    format!("{sync:?} {needs:?} {matching:?} {day:?}")
}

fn matched(configured: &Configured) -> Vec<&'static str> {
    configured.match_fields.iter().map(|field| field.source).collect()
}

/// Syncs that were compared and of which nothing is left need not be computed from the same again.
pub(super) fn remember(passages: &mut [Passage]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for passage in passages {
        let (Some(compared), Some(fingerprint)) = (&passage.compared, &passage.fingerprint) else {
            continue;
        };
        if passage.record.pending + passage.record.rejected > 0 {
            continue;
        }
        let quiet = Quiet {
            fingerprint: fingerprint.clone(),
            desired: compared.desired,
            invalid: compared.invalid.rows,
            suppressed: compared.suppressed,
        };
        let remembered = passage.state.rest(quiet);
        findings.extend(remembered.err().map(|error| error.finding()));
    }
    findings
}

impl Passage {
    /// Whether the sync can be left as it is; then its counts are those of the last comparison.
    fn rests(&mut self, request: &Request) -> bool {
        let asked = request.force || request.baseline || request.retry_rejected || self.replaces;
        let quiet = self.state.manifest().and_then(|manifest| manifest.quiet.as_ref());
        let (Some(quiet), Some(fingerprint), false) = (quiet, &self.fingerprint, asked) else {
            return false;
        };
        if quiet.fingerprint != *fingerprint {
            return false;
        }
        tracing::info!(sync = %self.sync.name, "Unchanged tables and queries, not computed");
        self.resting = true;
        self.record.unchanged = quiet.desired;
        self.record.invalid = quiet.invalid;
        self.record.suppressed = quiet.suppressed;
        true
    }
}
