//! Everything that looks and changes nothing that leaves: check, preview, query, status, history,
//! rejected rows; and reset, which forgets.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;

use super::Refused;
use super::prepare::{Concern, Prepared, Scratch, limits, prepare, stopping};
use crate::delivery::{Session, Surroundings, Terms};
use crate::destinations::{self, FieldKind};
use crate::engine::{self, DeliveredFiles};
use crate::finding::{Finding, Source, nearest};
use crate::plan;
use crate::project::Project;
use crate::state::{Holder, Lock, RunId, RunRecord, StateError, Store, SyncState};

/// A table of values: what `preview` and `query` show.
#[derive(Debug, Clone)]
pub struct Answer {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<serde_json::Value>>,
    /// Rows there are in all, where that is known.
    pub total: Option<u64>,
}

/// Where one sync stands.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub sync: String,
    /// Records the destination has.
    pub delivered: u64,
    pub rejected: u64,
    pub unsettled: u64,
    pub synced_at: Option<DateTime<Utc>>,
    pub last_run: Option<RunId>,
    /// When it may sync next; `None`: at once.
    pub due: Option<DateTime<Utc>>,
}

/// One row that a destination refused, or that lacks what it needs.
#[derive(Debug, Clone, Serialize)]
pub struct RejectedRow {
    pub sync: String,
    pub subject: String,
    pub email: Option<String>,
    pub reason: String,
    /// `None`: it was never sent, because it is invalid.
    pub since: Option<DateTime<Utc>>,
    pub refusals: u64,
    pub retry_at: Option<DateTime<Utc>>,
}

fn temporary() -> Result<Scratch, Refused> {
    let failed = |source| StateError::Write { path: std::env::temp_dir(), source };
    Ok(Scratch::temporary().map_err(failed)?)
}

/// Everything provable without sending; every finding at once, the project's own included, and last,
/// where it is asked for, advice.
pub async fn check(project: &Project, advise: bool, now: DateTime<Utc>) -> Vec<Finding> {
    let scratch = match temporary() {
        Ok(scratch) => scratch,
        Err(refused) => return refused.findings,
    };
    match prepare(project, limits(project, &scratch, now)).await {
        Ok(mut prepared) => {
            if advise {
                prepared.findings.extend_from_slice(prepared.lake.advice());
            }
            prepared.findings
        }
        Err(findings) => findings,
    }
}

/// The first rows of a model, and how many there are.
pub async fn preview(
    project: &Project,
    model: &str,
    limit: usize,
    as_of: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Answer, Refused> {
    let scratch = temporary()?;
    let prepared = prepare(project, limits(project, &scratch, as_of.unwrap_or(now))).await?;
    let Some(found) = project.model(model) else {
        let known = project.models.iter().map(|model| model.key.as_str());
        let finding = Finding::error("U03", format!("there is no model `{model}`"));
        return Err(Refused::one(match nearest(model, known) {
            Some(near) => finding.hint(format!("did you mean `{near}`?")),
            None => finding.hint("`muster check` counts the models; their keys come from `name`"),
        }));
    };
    refuse_wrong(&prepared)?;
    let mut total = 0;
    for key in prepared.lake.closure(&BTreeSet::from([found.key.clone()])) {
        total = prepared.lake.compute(&key).await?.rows;
    }
    let sql = format!("SELECT * FROM {}.\"{}\"", found.kind.schema(), found.key);
    let rows = engine::answer(&prepared.lake, &Source::new("preview", sql), Some(limit)).await?;
    Ok(Answer { columns: rows.columns, rows: rows.rows, total: Some(total) })
}

/// Findings of destinations do not matter to who only looks.
fn refuse_wrong(prepared: &Prepared<'_>) -> Result<(), Refused> {
    let wrong = stopping(prepared.findings.clone(), Concern::None);
    if wrong.is_empty() { Ok(()) } else { Err(Refused { findings: wrong }) }
}

/// Any SQL over tables, `traits.*`, `audiences.*` and `muster.*`.
pub async fn query(
    project: &Project,
    sql: &str,
    as_of: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Answer, Refused> {
    let scratch = temporary()?;
    let prepared = prepare(project, limits(project, &scratch, as_of.unwrap_or(now))).await?;
    let source = Source::new("query", sql);
    let references = engine::references(&source).map_err(Refused::one)?;
    let models = project.models.iter().filter(|model| {
        references.contains(&(Some(model.kind.schema().to_owned()), model.key.clone()))
    });
    let models: BTreeSet<String> = models.map(|model| model.key.clone()).collect();
    if !models.is_empty() {
        refuse_wrong(&prepared)?;
    }
    for key in prepared.lake.closure(&models) {
        prepared.lake.compute(&key).await?;
    }
    let own = references.iter().filter(|(schema, _)| schema.as_deref() == Some("muster"));
    for (_, table) in own {
        register_own(&prepared, table).await?;
    }
    let rows = engine::answer(&prepared.lake, &source, None).await?;
    let total = Some(rows.rows.len() as u64);
    Ok(Answer { columns: rows.columns, rows: rows.rows, total })
}

async fn register_own(prepared: &Prepared<'_>, table: &str) -> Result<(), Refused> {
    let project = prepared.lake.project();
    let store = Store::new(&project.state);
    let session = prepared.lake.session();
    match table {
        "runs" => engine::register_rows(session, table, &RUNS, &run_rows(&store)?)?,
        "changes" => {
            let parts = change_parts(&store)?;
            engine::register_union(session, table, &CHANGES, &parts).await?;
        }
        "deliveries" | "rejected" => {
            let only = (table == "rejected").then_some("rejected");
            let files = all_files(&store)?;
            let rows = engine::delivered_rows(session, &files, only).await?;
            engine::register_rows(session, table, &engine::DELIVERIES, &rows)?;
        }
        other => {
            let finding = Finding::error("Q06", format!("there is no table `muster.{other}`"));
            let hint =
                "known: `muster.runs`, `muster.changes`, `muster.deliveries`, `muster.rejected`";
            return Err(Refused::one(finding.hint(hint)));
        }
    }
    Ok(())
}

const RUNS: [(&str, FieldKind); 17] = [
    ("run", FieldKind::Text),
    ("command", FieldKind::Text),
    ("as_of", FieldKind::Timestamp),
    ("started", FieldKind::Timestamp),
    ("finished", FieldKind::Timestamp),
    ("exit_code", FieldKind::Integer),
    ("sync", FieldKind::Text),
    ("entered", FieldKind::Integer),
    ("exited", FieldKind::Integer),
    ("changed", FieldKind::Integer),
    ("resynced", FieldKind::Integer),
    ("unchanged", FieldKind::Integer),
    ("invalid", FieldKind::Integer),
    ("suppressed", FieldKind::Integer),
    ("delivered", FieldKind::Integer),
    ("rejected", FieldKind::Integer),
    ("pending", FieldKind::Integer),
];

const CHANGES: [(&str, FieldKind); 7] = [
    ("sync", FieldKind::Text),
    ("run", FieldKind::Text),
    ("subject", FieldKind::Text),
    ("email", FieldKind::Text),
    ("trait", FieldKind::Text),
    ("change", FieldKind::Text),
    ("message_id", FieldKind::Text),
];

/// One row per run and sync.
fn run_rows(store: &Store) -> Result<Vec<serde_json::Value>, Refused> {
    let mut rows = Vec::new();
    for run in RunRecord::all(store)? {
        for sync in &run.syncs {
            let mut row = json!(sync);
            let about = json!({
                "run": run.run, "command": run.command, "as_of": run.as_of, "started": run.started,
                "finished": run.finished, "exit_code": run.exit_code,
            });
            if let (Some(row), Some(about)) = (row.as_object_mut(), about.as_object()) {
                row.extend(about.clone());
                row.remove("skipped");
            }
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Sealed changes that are still kept, with the selection that makes them rows of [`CHANGES`].
fn change_parts(store: &Store) -> Result<Vec<(std::path::PathBuf, String)>, Refused> {
    let mut parts = Vec::new();
    for sync in store.list(&store.path("syncs"))? {
        let folder = store.path(&format!("syncs/{sync}/runs"));
        for run in store.list(&folder)? {
            let path = folder.join(&run).join("changes.parquet");
            if path.exists() {
                let select = format!(
                    "SELECT '{}' AS sync, '{}' AS run, subject, email, trait, change, \
                     encode(arrow_cast(message_id, 'Binary'), 'hex') AS message_id",
                    sync.replace('\'', "''"),
                    run.replace('\'', "''")
                );
                parts.push((path, select));
            }
        }
    }
    Ok(parts)
}

fn all_files(store: &Store) -> Result<Vec<(String, DeliveredFiles)>, Refused> {
    let mut files = Vec::new();
    for sync in store.list(&store.path("syncs"))? {
        files.push((sync.clone(), SyncState::open(store, &sync)?.files()));
    }
    Ok(files)
}

/// Where every sync of the project stands.
pub async fn status(project: &Project, now: DateTime<Utc>) -> Result<Vec<Status>, Refused> {
    let scratch = temporary()?;
    let prepared = prepare(project, limits(project, &scratch, now)).await?;
    refuse_wrong(&prepared)?;
    let store = Store::new(&project.state);
    let runs = RunRecord::all(&store)?;
    let mut all = Vec::new();
    for sync in &prepared.syncs {
        let state = SyncState::open(&store, &sync.name)?;
        let [delivered, rejected, unsettled] =
            engine::standings(prepared.lake.session(), &state.files()).await?;
        let synced_at = state.manifest().and_then(|manifest| manifest.synced_at);
        let last = runs.iter().rev().find(|run| run.syncs.iter().any(|s| s.sync == sync.name));
        all.push(Status {
            sync: sync.name.clone(),
            delivered,
            rejected,
            unsettled,
            synced_at,
            last_run: last.map(|run| run.run.clone()),
            due: plan::due(sync.every, synced_at, now),
        });
    }
    Ok(all)
}

/// Rows refused, of all syncs or those selected.
pub async fn rejected(
    project: &Project,
    select: &[String],
    now: DateTime<Utc>,
) -> Result<Vec<RejectedRow>, Refused> {
    let scratch = temporary()?;
    let session = engine::Session::new(limits(project, &scratch, now))?;
    let store = Store::new(&project.state);
    let files = all_files(&store)?;
    let wanted: Vec<_> = files.into_iter().filter(|(sync, _)| is_selected(sync, select)).collect();
    let mut invalid = Vec::new();
    for (sync, _) in &wanted {
        let list = SyncState::open(&store, sync)?.invalid();
        if list.exists() {
            let rows = engine::invalid_rows(&session, &list).await?;
            invalid.extend(rows.into_iter().map(|row| invalid_row(sync, row)));
        }
    }
    if wanted.is_empty() && !select.is_empty() {
        let finding = Finding::error("U01", format!("`{}` selects no sync", select.join(" ")));
        return Err(Refused::one(finding.hint("`muster status` lists the syncs")));
    }
    let rows = engine::delivered_rows(&session, &wanted, Some("rejected")).await?;
    Ok(rows.iter().filter_map(rejected_row).chain(invalid).collect())
}

fn invalid_row(sync: &str, (subject, reason): (String, String)) -> RejectedRow {
    RejectedRow {
        sync: sync.to_owned(),
        subject,
        email: None,
        reason,
        since: None,
        refusals: 0,
        retry_at: None,
    }
}

fn is_selected(sync: &str, select: &[String]) -> bool {
    let (model, destination) = sync.split_once('.').unwrap_or((sync, ""));
    select.is_empty()
        || select.iter().any(|pattern| {
            globset::Glob::new(pattern).is_ok_and(|glob| {
                let glob = glob.compile_matcher();
                [sync, model, destination].iter().any(|name| glob.is_match(name))
            })
        })
}

fn rejected_row(row: &serde_json::Value) -> Option<RejectedRow> {
    let text = |name: &str| row.get(name)?.as_str().map(ToOwned::to_owned);
    let time = |name: &str| {
        let text = text(name)?;
        DateTime::parse_from_rfc3339(&text).ok().map(|time| time.with_timezone(&Utc))
    };
    Some(RejectedRow {
        sync: text("sync")?,
        subject: text("subject")?,
        email: text("email"),
        reason: text("reason").unwrap_or_else(|| "no reason was given".into()),
        since: Some(time("refused_at")?),
        refusals: row.get("refusals").and_then(serde_json::Value::as_u64).unwrap_or(1),
        retry_at: time("retry_at"),
    })
}

/// Past runs, latest first; only those that touched the selected syncs.
pub fn history(project: &Project, select: &[String]) -> Result<Vec<RunRecord>, Refused> {
    let mut runs = RunRecord::all(&Store::new(&project.state))?;
    runs.reverse();
    for run in &mut runs {
        run.syncs.retain(|sync| is_selected(&sync.sync, select));
    }
    runs.retain(|run| select.is_empty() || !run.syncs.is_empty());
    Ok(runs)
}

/// Forgets what was delivered to one sync; the next run sends all. (`--baseline` is a run with
/// `Request::baseline`.)
pub fn reset(
    project: &Project,
    sync: &str,
    command: &str,
    now: DateTime<Utc>,
) -> Result<(), Refused> {
    let (store, _lock) = of_sync(project, sync, command, now)?;
    let run = RunId::new(now, RunRecord::latest(&store)?.as_ref());
    SyncState::erase(&store, sync, &run)?;
    Ok(())
}

/// Forgets which remote list one sync has; the next run finds it, or makes it, as the first one did.
pub fn forget_list(
    project: &Project,
    sync: &str,
    command: &str,
    now: DateTime<Utc>,
) -> Result<(), Refused> {
    let (store, _lock) = of_sync(project, sync, command, now)?;
    SyncState::forget_remote(&store, sync)?;
    Ok(())
}

/// The project's state, locked, where there is such a sync.
fn of_sync(
    project: &Project,
    sync: &str,
    command: &str,
    now: DateTime<Utc>,
) -> Result<(Store, Lock), Refused> {
    let store = Store::new(&project.state);
    let known = store.list(&store.path("syncs"))?;
    let configured: Vec<String> = project
        .models
        .iter()
        .flat_map(|model| model.syncs.iter().map(|entry| format!("{}.{}", model.key, entry.to)))
        .collect();
    let names = known.iter().chain(&configured).map(String::as_str);
    if !names.clone().any(|name| name == sync) {
        let finding = Finding::error("U01", format!("there is no sync `{sync}`"));
        return Err(Refused::one(match nearest(sync, names) {
            Some(near) => finding.hint(format!("did you mean `{near}`?")),
            None => finding.hint("a sync is named `model.destination`; `muster status` lists them"),
        }));
    }
    let holder = Holder { pid: std::process::id(), command: command.to_owned(), since: now };
    let lock = Lock::acquire(&store, &holder)?;
    Ok((store, lock))
}

/// Proves the credentials of one configured destination.
pub async fn test_destination(project: &Project, name: &str) -> Result<(), Refused> {
    let used = BTreeSet::from([name.to_owned()]);
    let wrong = stopping(project.findings.clone(), Concern::Only(&used));
    if !wrong.is_empty() {
        return Err(Refused { findings: wrong });
    }
    let Some(config) = project.destinations.get(name) else {
        let known = project.destinations.keys().map(String::as_str);
        let finding = Finding::error("S01", format!("there is no destination `{name}`"));
        return Err(Refused::one(match nearest(name, known) {
            Some(near) => finding.hint(format!("did you mean `{near}`?")),
            None => finding.hint("configure it in `muster.toml` as `[destinations.NAME]`"),
        }));
    };
    let configured = destinations::configure(config, &project.source)?;
    let terms = Terms {
        spec: configured.spec,
        common: configured.common.clone(),
        secrets: configured.secrets.clone(),
    };
    let surroundings = Surroundings { seed: 0, now: std::time::UNIX_EPOCH };
    let refused = |fault: destinations::Fault| {
        Refused::one(
            Finding::error("D10", format!("`{name}` could not be reached as configured"))
                .note(fault.to_string())
                .hint("check its address and credentials in `muster.toml` and the environment"),
        )
    };
    let session = Session::live(&terms, surroundings).map_err(refused)?;
    configured.destination.check(&session).await.map_err(refused)
}
