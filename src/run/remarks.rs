//! What the numbers of one sync alone do not say: who cannot be sent and why, whose values differ, which
//! values nobody can be matched by, lists too small to be used.

use std::collections::BTreeMap;

use super::prepare::Prepared;
use super::{Passage, PlannedSync};
use crate::engine::{Compared, Usability};
use crate::finding::Finding;

impl Passage {
    pub(super) fn remarks(&self) -> Vec<Finding> {
        let Some(compared) = &self.compared else { return Vec::new() };
        [
            self.invalid(compared),
            self.conflicts(compared),
            self.unusable(compared),
            self.too_small(compared),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn invalid(&self, compared: &Compared) -> Option<Finding> {
        let name = &self.sync.name;
        let reasons = compared.invalid.reasons.iter();
        let reasons: Vec<_> =
            reasons.map(|(reason, count)| format!("{reason} ({count})")).collect();
        let message = format!("`{name}` cannot send everybody: {}", reasons.join(", "));
        let hint = format!("`muster rejected {name}` lists them once a run has computed them");
        (compared.invalid.rows > 0).then(|| Finding::warning("R03", message).hint(hint))
    }

    fn conflicts(&self, compared: &Compared) -> Option<Finding> {
        let (name, conflicts) = (&self.sync.name, compared.conflicts);
        let message =
            format!("`{name}`: {conflicts} emails have several owners whose values differ");
        let hint = "the owner whose email was added last decides; see `identifiers`";
        (conflicts > 0).then(|| Finding::warning("R04", message).hint(hint))
    }

    /// Values that members cannot be matched by, field by field.
    fn unusable(&self, compared: &Compared) -> Option<Finding> {
        let mut fields: BTreeMap<&str, Vec<&Usability>> = BTreeMap::new();
        for usability in &compared.usability {
            fields.entry(&usability.source).or_default().push(usability);
        }
        let told: Vec<String> =
            fields.iter().filter_map(|(field, values)| share(field, values)).collect();
        if told.is_empty() {
            return None;
        }
        let people = compared.desired + compared.invalid.rows;
        let message = format!(
            "`{}`: {} of the members can be sent; {}",
            self.sync.name,
            percent(compared.desired, people),
            told.join("; ")
        );
        let lost = |usability: &&Usability| usability.objection.as_deref() == Some(NO_COUNTRY);
        Some(Finding::warning("R05", message).hint(match compared.usability.iter().any(|own| lost(&own)) {
            true => "a column `country` in `profiles`, or the destination's option `country`, says where a national number belongs",
            false => "members are matched by their other fields, or left out where they have none",
        }))
    }

    fn too_small(&self, compared: &Compared) -> Option<Finding> {
        let least = self.sync.min_members.filter(|least| compared.desired < *least)?;
        let Self { sync, .. } = self;
        let message = format!(
            "`{}` has {} members; `{}` uses lists of {least} and more",
            sync.name, compared.desired, sync.destination
        );
        let hint = "it is sent all the same; the platform may refuse removals and show nothing yet";
        (compared.desired > 0).then(|| Finding::warning("R06", message).hint(hint))
    }
}

/// Destinations that need more requests than they may be sent in a day.
pub(super) fn beyond_the_day(prepared: &Prepared<'_>, syncs: &[PlannedSync]) -> Vec<Finding> {
    let destinations = prepared.destinations.iter().filter_map(|(name, configured)| {
        let limit = configured.common.daily_limit.or(configured.spec.daily)?;
        let own = prepared.syncs.iter().filter(|sync| sync.destination == *name);
        let own = own.filter_map(|sync| syncs.iter().find(|planned| planned.record.sync == sync.name));
        let requests: u64 = own.map(|planned| planned.request_count).sum();
        let message = format!(
            "`{name}` needs {requests} requests, and may be sent {limit} in any 24 hours"
        );
        let hint = "what does not fit stays pending and goes with later runs; `daily_limit` says otherwise";
        (requests > limit).then(|| Finding::warning("R08", message).hint(hint))
    });
    destinations.collect()
}

/// What normalisers say of a national number of somebody who is nowhere.
const NO_COUNTRY: &str = "no country code";

/// How much of one field cannot be used, and why.
fn share(field: &str, values: &[&Usability]) -> Option<String> {
    let all: u64 = values.iter().map(|own| own.values).sum();
    let reasons = values.iter().filter_map(|own| Some((own.objection.as_deref()?, own.values)));
    let lost: u64 = reasons.clone().map(|(_, values)| values).sum();
    let reasons: Vec<_> = reasons.map(|(reason, values)| format!("{reason} ({values})")).collect();
    (lost > 0).then(|| {
        format!("{} of `{field}` cannot be used: {}", percent(lost, all), reasons.join(", "))
    })
}

/// In tenths, rounded down, so that not quite everybody is never called everybody; few are never none.
fn percent(part: u64, whole: u64) -> String {
    let tenths = (part * 1000 / whole.max(1)).max(u64::from(part > 0));
    format!("{}.{} %", tenths / 10, tenths % 10)
}
