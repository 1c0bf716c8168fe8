//! From a project to the syncs that can run: every query planned, every destination configured, every
//! sync entry decided, and every problem found on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::destinations::{self, Configured, Field, FieldKind, Grain, Remote, Target};
use crate::engine::{Lake, Limits, Records};
use crate::finding::Finding;
use crate::plan::{self, Sync};
use crate::project::{Model, ModelKind, OnMissing, Project, SyncEntry};
use crate::record::{Call, Level};

/// A project whose queries are planned and whose destinations are configured.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    pub(super) lake: Lake<'a>,
    pub(super) destinations: BTreeMap<String, Configured>,
    pub(super) syncs: Vec<Sync>,
    /// The project's own findings included.
    pub(super) findings: Vec<Finding>,
}

/// A folder for spill files and intermediate tables, gone when the value is.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Inside the state folder, so that finished files can be renamed into it.
    pub(super) fn inside(state: &Path, run: &str) -> std::io::Result<Self> {
        let parent = state.join("tmp");
        // Left behind by a run that was killed; the lock says that nobody uses it.
        if let Err(error) = std::fs::remove_dir_all(&parent)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let path = parent.join(run);
        std::fs::create_dir_all(&path)?;
        Ok(Self { path })
    }

    /// In the machine's folder for temporary files: for commands that store nothing.
    pub(super) fn temporary() -> std::io::Result<Self> {
        Ok(Self { path: tempfile::Builder::new().prefix("muster-").tempdir()?.keep() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next run.
        drop(std::fs::remove_dir_all(&self.path));
    }
}

pub(super) fn limits(project: &Project, scratch: &Scratch, as_of: DateTime<Utc>) -> Limits {
    Limits {
        memory: project.memory_limit.unwrap_or_else(half_of_memory),
        scratch: scratch.path().to_owned(),
        as_of,
    }
}

/// Half of what the machine, or the container we are in, has; 4 GB where that cannot be told.
fn half_of_memory() -> u64 {
    let number = |text: &str| text.split_whitespace().find_map(|word| word.parse::<u64>().ok());
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        number(line).map(|kilobytes| kilobytes * 1024)
    });
    let container =
        std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| number(&text));
    machine.into_iter().chain(container).min().map_or(4 << 30, |bytes| bytes / 2)
}

/// Plans everything. What is wrong is in `findings`; what is right can be used.
pub(super) async fn prepare(
    project: &Project,
    limits: Limits,
) -> Result<Prepared<'_>, Vec<Finding>> {
    let mut findings = project.findings.clone();
    let mut lake = Lake::new(project, limits).map_err(|error| vec![error.finding()])?;
    findings.extend(lake.analyse().await);
    let mut configured = BTreeMap::new();
    for config in project.destinations.values() {
        match destinations::configure(config, &project.source) {
            Ok(mut destination) => {
                findings.append(&mut destination.warnings);
                configured.insert(config.name.clone(), destination);
            }
            Err(wrong) => findings.extend(wrong),
        }
    }
    let mut syncs = Vec::new();
    for model in &project.models {
        for entry in &model.syncs {
            match resolve(&lake, &configured, model, entry) {
                Ok(sync) => syncs.extend(sync),
                Err(finding) => findings.push(finding),
            }
        }
    }
    findings.extend(unmapped(&lake, &syncs));
    findings.extend(without_members(&lake, &syncs));
    syncs.sort_by(|a, b| a.name.cmp(&b.name));
    let mut prepared = Prepared { lake, destinations: configured, syncs, findings };
    let more = [colliding(&prepared), objections(&prepared)].concat();
    prepared.findings.extend(more);
    Ok(prepared)
}

/// `None` when the model or the destination has findings of its own.
fn resolve(
    lake: &Lake<'_>,
    configured: &BTreeMap<String, Configured>,
    model: &Model,
    entry: &SyncEntry,
) -> Result<Option<Sync>, Finding> {
    let (Some(planned), Some(destination)) = (lake.model(&model.key), configured.get(&entry.to))
    else {
        return Ok(None);
    };
    let mut sync =
        plan::resolve(model, planned.level, entry, destination.spec, &destination.common)?;
    sync.grain = grain(&sync, destination.grain);
    sync.forgets = destination.forgets;
    Ok(Some(sync))
}

/// What a sync tells apart: accounts have no emails, whatever users are told apart by.
fn grain(sync: &Sync, of_users: Grain) -> Grain {
    match (sync.call, of_users) {
        (Call::Group, Grain::Email) => Grain::Subject,
        (_, grain) => grain,
    }
}

/// `fields` that name neither a column of the model nor one of `profiles`.
fn unmapped(lake: &Lake<'_>, syncs: &[Sync]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for sync in syncs {
        let (Some(planned), Some(model)) =
            (lake.model(&sync.model), lake.project().model(&sync.model))
        else {
            continue;
        };
        let known: BTreeSet<&str> = planned
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .chain(lake.profile_columns().iter().map(String::as_str))
            .collect();
        for field in sync.fields.keys().filter(|field| !known.contains(field.as_str())) {
            let message = format!("`fields` of `{}` maps `{field}`, which is no column", sync.name);
            let finding = Finding::error("S06", message).at(&model.query.source, None);
            let list = known.iter().copied().collect::<Vec<_>>().join("`, `");
            findings.push(match crate::finding::nearest(field, known.iter().copied()) {
                Some(near) => finding.hint(format!("did you mean `{near}`?")),
                None => finding.hint(format!("columns: `{list}`")),
            });
        }
    }
    findings
}

/// Audiences of accounts on their way to lists of users, when nothing says who these are.
fn without_members(lake: &Lake<'_>, syncs: &[Sync]) -> Vec<Finding> {
    let project = lake.project();
    let accounts = syncs.iter().filter(|sync| {
        sync.call == Call::List && sync.level == Level::Account && project.members.is_none()
    });
    let finding = |sync: &Sync| {
        let message =
            format!("`{}` is about accounts, and `{}` lists users", sync.model, sync.destination);
        let finding = Finding::error("S07", message)
            .hint("say who the users of an account are in `queries/account_members.sql`");
        match project.model(&sync.model) {
            Some(model) => finding.at(&model.query.source, None),
            None => finding,
        }
    };
    accounts.map(finding).collect()
}

/// Attributes of one destination that would overwrite each other, under the names they get there.
fn colliding(prepared: &Prepared<'_>) -> Vec<Finding> {
    let mut named = Vec::new();
    for sync in prepared.syncs.iter().filter(|sync| sync.says_attributes()) {
        let Some(model) = prepared.lake.project().model(&sync.model) else { continue };
        let Some(configured) = prepared.destinations.get(&sync.destination) else { continue };
        for field in attributes(prepared, sync) {
            let name = configured.destination.field_name(&field.name);
            named.push((sync.destination.as_str(), &model.query.source, model.key.as_str(), name));
        }
    }
    plan::colliding_attributes(named.into_iter())
}

/// What destinations say they cannot take, before anything is computed.
fn objections(prepared: &Prepared<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for sync in &prepared.syncs {
        let Some(model) = prepared.lake.project().model(&sync.model) else { continue };
        let Some(configured) = prepared.destinations.get(&sync.destination) else { continue };
        let target = target_of(prepared, sync, "", None);
        let objections = configured.destination.objections(&target);
        findings.extend(objections.into_iter().map(|objection| {
            Finding::error("S08", format!("`{}`: {objection}", sync.name))
                .at(&model.query.source, None)
                .hint(format!("`muster destinations {}` says what it takes", configured.spec.kind))
        }));
        let known = prepared.lake.profile_columns();
        let lacking =
            configured.required.iter().filter(|name| !known.iter().any(|own| own == *name));
        findings.extend(lacking.filter(|_| sync.level == Level::User).map(|name| {
            let message =
                format!("`{}` needs `{name}` of every user, which `profiles` lacks", sync.name);
            Finding::error("S09", message).at(&model.query.source, None).hint(format!(
                "let `profiles.sql` return a column `{name}`; {} refuses people without it",
                configured.spec.title
            ))
        }));
    }
    findings
}

/// What travels as attributes of the person or account: a trait model's columns, or the audience
/// itself.
fn attributes(prepared: &Prepared<'_>, sync: &Sync) -> Vec<Field> {
    let membership = Field { name: sync.model.clone(), kind: FieldKind::Bool };
    match (sync.kind, sync.call) {
        (ModelKind::Audience, Call::Identify | Call::Group) => vec![membership],
        _ => columns(prepared, sync),
    }
}

fn columns(prepared: &Prepared<'_>, sync: &Sync) -> Vec<Field> {
    let planned = prepared.lake.model(&sync.model);
    let columns = planned.into_iter().flat_map(|planned| &planned.columns);
    let mapped = columns.map(|column| {
        let name = sync.fields.get(&column.name).unwrap_or(&column.name);
        Field { name: name.clone(), kind: column.kind }
    });
    mapped.collect()
}

/// What a destination is told of a sync.
pub(super) fn target_of(
    prepared: &Prepared<'_>,
    sync: &Sync,
    run: &str,
    remote: Option<Remote>,
) -> Target {
    let mut fields = attributes(prepared, sync);
    let own = prepared.lake.model(&sync.model).map_or(&[][..], |planned| &planned.columns);
    let enriching = sync.fields.iter().filter(|(column, _)| {
        own.iter().all(|own| own.name != **column)
            && prepared.lake.profile_columns().contains(column)
    });
    fields.extend(enriching.map(|(_, name)| Field { name: name.clone(), kind: FieldKind::Text }));
    Target {
        sync: sync.name.clone(),
        run: run.to_owned(),
        model_key: sync.model.clone(),
        model_name: sync.model_name.clone(),
        kind: sync.kind,
        level: sync.level,
        call: sync.call,
        list: sync.list.clone(),
        fields,
        remote,
    }
}

/// What the engine needs to know of a sync.
pub(super) fn records(prepared: &Prepared<'_>, sync: &Sync) -> Option<Records> {
    let lake = &prepared.lake;
    let project = lake.project();
    let configured = prepared.destinations.get(&sync.destination)?;
    let spec = configured.spec;
    let model = lake.model(&sync.model)?.clone();
    let own: BTreeSet<&str> = model.columns.iter().map(|column| column.name.as_str()).collect();
    let mapped = sync.fields.keys().map(String::as_str);
    let wanted = mapped.filter(|field| !own.contains(field));
    let known = |name: &&str| lake.profile_columns().iter().any(|column| column == *name);
    let taken = spec.profile.iter().copied().filter(known);
    let enriching: BTreeSet<&str> =
        wanted.chain(taken).chain(configured.required.iter().copied()).collect();
    let user_level = sync.level == Level::User || sync.call == Call::List;
    let per_trait = sync.call == Call::Track && sync.kind == ModelKind::Trait;
    Some(Records {
        sync: sync.name.clone(),
        key_column: lake.key_column(sync.level).to_owned(),
        user_key: project.users.key.clone(),
        account_key: project.accounts.key.clone(),
        call: sync.call,
        grain: sync.grain,
        emails: sync.emails,
        resync_on_new_identifier: sync.resync_on_new_identifier,
        keep_missing: sync.on_missing == OnMissing::Keep,
        match_fields: configured.match_fields.clone(),
        country: configured.country.clone(),
        profile: enriching.into_iter().filter(|_| user_level).map(ToOwned::to_owned).collect(),
        required: configured
            .required
            .iter()
            .filter(|_| user_level)
            .map(|name| (*name).to_owned())
            .collect(),
        profile_columns: lake.profile_columns().to_vec(),
        has_identifiers: project.identifiers.is_some(),
        has_suppressed: project.suppress.is_some(),
        per_trait,
        model,
    })
}

/// Whose destinations matter to what is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Concern<'a> {
    All,
    Only(&'a BTreeSet<String>),
    /// Nothing is sent.
    None,
}

/// Errors that stop what is asked for: those of destinations that do not matter do not.
pub(super) fn stopping(findings: Vec<Finding>, concern: Concern<'_>) -> Vec<Finding> {
    let stops = |finding: &Finding| match (&finding.destination, concern) {
        (Some(destination), Concern::Only(used)) => used.contains(destination),
        (Some(_), Concern::None) => false,
        (Some(_), Concern::All) | (None, _) => true,
    };
    let findings: Vec<Finding> = findings.into_iter().filter(stops).collect();
    if findings.iter().any(Finding::is_error) { findings } else { Vec::new() }
}
