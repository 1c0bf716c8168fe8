//! Which syncs run and why, or why not. Pure: no clock, no files.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::destinations::{Common, Grain, Mode, Spec};
use crate::finding::{Finding, Source, nearest};
use crate::project::{Emails, Guard, Model, ModelKind, OnMissing, SyncEntry};
use crate::record::{Call, Level};

/// One model on its way to one destination, every option decided.
#[derive(Debug, Clone)]
pub struct Sync {
    /// `model.destination`.
    pub name: String,
    pub model: String,
    pub model_name: String,
    pub destination: String,
    pub kind: ModelKind,
    pub level: Level,
    pub call: Call,
    pub grain: Grain,
    pub event: String,
    pub emails: Emails,
    pub resync_on_new_identifier: bool,
    pub on_missing: OnMissing,
    /// `false`: the first run records a baseline.
    pub history: bool,
    /// Least time between two syncs; zero: none.
    pub every: Duration,
    pub list: Option<String>,
    /// After how long the platform forgets a member.
    pub forgets: Option<Duration>,
    /// The fewest members with which the platform uses a list.
    pub min_members: Option<u64>,
    pub fields: BTreeMap<String, String>,
    pub guard: Guard,
}

impl Sync {
    /// Whether it sets attributes of a person or account, rather than telling events or members.
    pub fn says_attributes(&self) -> bool {
        matches!(self.call, Call::Identify | Call::Group)
    }
}

/// Decides every option of one sync entry, or says why the destination cannot take it.
pub fn resolve(
    model: &Model,
    level: Level,
    entry: &SyncEntry,
    spec: &Spec,
    common: &Common,
) -> Result<Sync, Finding> {
    let source = &model.query.source;
    let call = call(model, level, entry, spec)
        .map_err(|finding| finding.at(source, Some(entry.span.clone())))?;
    let every = entry.every.or(common.every).unwrap_or(spec.min_interval);
    Ok(Sync {
        name: format!("{}.{}", model.key, entry.to),
        model: model.key.clone(),
        model_name: model.name.clone(),
        destination: entry.to.clone(),
        kind: model.kind,
        level,
        call,
        grain: spec.grain,
        event: entry.event.clone(),
        emails: entry.emails,
        resync_on_new_identifier: entry.resync_on_new_identifier,
        on_missing: entry.on_missing,
        history: entry.history && spec.history,
        every,
        list: entry.list.clone(),
        forgets: spec.forgets,
        min_members: spec.min_members,
        fields: entry.fields.clone(),
        guard: entry.guard,
    })
}

fn call(model: &Model, level: Level, entry: &SyncEntry, spec: &Spec) -> Result<Call, Finding> {
    let (key, to) = (&model.key, &entry.to);
    if spec.mode == Mode::List && model.kind == ModelKind::Trait {
        let message = format!("trait `{key}` cannot go to `{to}`: {} holds lists", spec.title);
        return Err(Finding::error("S02", message)
            .hint("lists take audiences only; write an audience that selects from this trait"));
    }
    let call = entry.call.unwrap_or(match (spec.mode, level) {
        (Mode::List, _) => Call::List,
        (Mode::Event, Level::Account) => Call::Group,
        (Mode::Event, Level::User) => spec.calls.first().copied().unwrap_or(Call::Identify),
    });
    if !spec.takes(call) {
        let taken: Vec<_> = spec.calls.iter().map(|call| format!("`{call}`")).collect();
        let message = format!("`{key}` cannot go to `{to}` as `{call}`");
        return Err(Finding::error("S04", message).hint(format!(
            "{} takes {}",
            spec.title,
            taken.join(", ")
        )));
    }
    let account = level == Level::Account;
    match call {
        Call::Identify | Call::Track if account => {
            let message = format!("`{key}` is about accounts and cannot be sent as `{call}`");
            Err(Finding::error("S03", message)
                .hint("send it `as = \"group\"`, or select users instead of accounts"))
        }
        Call::Group if !account => {
            let message = format!("`{key}` is about users and cannot be sent as `group`");
            Err(Finding::error("S03", message)
                .hint("send it `as = \"identify\"`, or select accounts instead of users"))
        }
        _ => Ok(call),
    }
}

/// Two attributes of one name at one destination would overwrite each other.
pub fn colliding_attributes<'a>(
    attributes: impl Iterator<Item = (&'a str, &'a Source, &'a str, String)>,
) -> Vec<Finding> {
    let mut seen: BTreeMap<(&str, String), &str> = BTreeMap::new();
    let mut findings = Vec::new();
    for (destination, source, model, name) in attributes {
        let Some(other) = seen.insert((destination, name.clone()), model) else { continue };
        let message = match other == model {
            true => format!("`{model}` sends two traits as `{name}` to `{destination}`"),
            false => format!("`{other}` and `{model}` both send `{name}` to `{destination}`"),
        };
        findings.push(
            Finding::error("S05", message)
                .at(source, None)
                .hint("give one of the columns another name, or map it with `fields`"),
        );
    }
    findings
}

/// The syncs that `select` names: models, destinations, `model.destination`, or globs of these;
/// everything when it is empty.
pub fn select<'a>(syncs: &'a [Sync], select: &[String]) -> Result<Vec<&'a Sync>, Vec<Finding>> {
    if select.is_empty() {
        return Ok(syncs.iter().collect());
    }
    let mut chosen = BTreeSet::new();
    let mut findings = Vec::new();
    for pattern in select {
        let Ok(glob) = globset::Glob::new(pattern) else {
            findings.push(Finding::error("U02", format!("`{pattern}` is not a glob")));
            continue;
        };
        let glob = glob.compile_matcher();
        let matching = syncs.iter().enumerate().filter(|(_, sync)| {
            [&sync.name, &sync.model, &sync.destination].into_iter().any(|name| glob.is_match(name))
        });
        let before = chosen.len();
        let mut any = false;
        chosen.extend(matching.map(|(index, _)| index).inspect(|_| any = true));
        if !any && chosen.len() == before {
            findings.push(nothing_selected(syncs, pattern));
        }
    }
    match findings.is_empty() {
        true => Ok(chosen.into_iter().map(|index| &syncs[index]).collect()),
        false => Err(findings),
    }
}

fn nothing_selected(syncs: &[Sync], pattern: &str) -> Finding {
    let names: BTreeSet<&str> = syncs
        .iter()
        .flat_map(|sync| [sync.name.as_str(), &sync.model, &sync.destination])
        .collect();
    let finding = Finding::error("U01", format!("`{pattern}` selects no sync"));
    match nearest(pattern, names.iter().copied()) {
        Some(near) => finding.hint(format!("did you mean `{near}`?")),
        None if names.is_empty() => finding.hint("no model of this project has a `sync` entry"),
        None => {
            finding.hint("name a model, a destination, `model.destination`, or a glob of these")
        }
    }
}

/// When a sync may run next; `None`: now.
pub fn due(
    every: Duration,
    synced_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let every = chrono::TimeDelta::from_std(every).ok()?;
    synced_at.map(|at| at + every).filter(|due| *due > now)
}

/// Models that select from each other in a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle {
    /// The circle itself, each selecting from the next.
    pub keys: Vec<String>,
    /// Every model that is not in or behind a circle, in order.
    pub rest: Vec<String>,
}

/// Orders models so that each comes after what it selects from; ties by name.
pub fn order(edges: &BTreeMap<String, BTreeSet<String>>) -> Result<Vec<String>, Cycle> {
    let mut done: Vec<String> = Vec::with_capacity(edges.len());
    let mut waiting: BTreeMap<&str, usize> = BTreeMap::new();
    let mut dependents: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut ready: BTreeSet<&str> = BTreeSet::new();
    for (key, needs) in edges {
        let needs: Vec<&String> = needs.iter().filter(|need| edges.contains_key(*need)).collect();
        if needs.is_empty() {
            ready.insert(key);
        } else {
            waiting.insert(key, needs.len());
        }
        for need in needs {
            dependents.entry(need).or_default().push(key);
        }
    }
    while let Some(key) = ready.pop_first() {
        done.push(key.to_owned());
        for dependent in dependents.remove(key).unwrap_or_default() {
            if let Some(count) = waiting.get_mut(dependent) {
                *count -= 1;
                if *count == 0 {
                    waiting.remove(dependent);
                    ready.insert(dependent);
                }
            }
        }
    }
    match waiting.keys().next() {
        None => Ok(done),
        Some(start) => Err(Cycle { keys: circle(edges, &waiting, start), rest: done }),
    }
}

/// Walks from a model that waits until one comes again.
fn circle(
    edges: &BTreeMap<String, BTreeSet<String>>,
    waiting: &BTreeMap<&str, usize>,
    start: &str,
) -> Vec<String> {
    let mut path: Vec<&str> = Vec::new();
    let mut at = start;
    loop {
        if let Some(first) = path.iter().position(|key| *key == at) {
            return path[first..].iter().map(|key| (*key).to_owned()).collect();
        }
        path.push(at);
        let needs = edges.get(at).into_iter().flatten();
        match needs.map(String::as_str).find(|need| waiting.contains_key(need)) {
            Some(next) => at = next,
            None => return path.into_iter().map(ToOwned::to_owned).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(list: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        list.iter().map(|(key, needs)| ((*key).to_owned(), owned(needs))).collect()
    }

    #[test]
    fn each_model_comes_after_what_it_selects_from() {
        let edges = edges(&[("a", &["c"]), ("b", &[]), ("c", &["b", "unknown"])]);
        assert_eq!(order(&edges), Ok(vec!["b".into(), "c".into(), "a".into()]));
    }

    #[test]
    fn a_circle_is_named_and_the_rest_still_ordered() {
        let edges = edges(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"]), ("d", &[])]);
        let cycle = order(&edges).unwrap_err();
        assert_eq!(cycle.keys, ["b", "c"]);
        assert_eq!(cycle.rest, ["d"]);
    }
}
