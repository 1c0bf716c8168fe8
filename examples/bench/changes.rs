//! The inner steps of a project, one at a time: what the pipeline of a run does in one go.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use musterroll::destinations::Grain;
use musterroll::engine::{
    self, Compared, Comparison, DeliveredFiles, Lake, Limits, Reading, Records, Shape, Wanted,
};
use musterroll::project::{Emails, ModelKind, Project};
use musterroll::record::{Call, Level};
use serde_json::json;

use crate::Outcome;
use crate::worker::answering;

/// 2026-11-20T09:00:00Z.
const NOW: i64 = 1_795_165_200;
/// More than any row holds; what is spilled is another row's business.
const MEMORY: u64 = 8 << 30;

pub fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).unwrap_or_default()
}

/// A project that is read, its queries not yet planned.
pub struct Opened {
    pub project: Project,
    limits: Limits,
}

impl Opened {
    pub fn new(folder: &Path) -> Outcome<Self> {
        let project = musterroll::project::load(folder, &|_| None);
        if let Some(finding) = project.findings.iter().find(|finding| finding.is_error()) {
            return Err(finding.message.clone().into());
        }
        let scratch = folder.join(format!("scratch-{}", std::process::id()));
        std::fs::create_dir_all(&scratch)?;
        Ok(Self { project, limits: Limits { memory: MEMORY, scratch, as_of: now() } })
    }

    /// Every query planned.
    pub async fn lake(&self) -> Outcome<Lake<'_>> {
        let mut lake = Lake::new(&self.project, self.limits.clone())?;
        let findings = lake.analyse().await;
        match findings.iter().find(|finding| finding.is_error()) {
            Some(finding) => Err(finding.message.clone().into()),
            None => Ok(lake),
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // A killed worker leaves its own behind, until the project is made anew.
        drop(std::fs::remove_dir_all(&self.limits.scratch));
    }
}

/// The records of a computed trait on its way to the webhook `sink`.
pub fn records(lake: &Lake<'_>, key: &str) -> Outcome<Records> {
    let project = lake.project();
    Ok(Records {
        sync: format!("{key}.sink"),
        model: lake.model(key).ok_or("no such model")?.clone(),
        key_column: project.users.key.clone(),
        user_key: project.users.key.clone(),
        account_key: project.accounts.key.clone(),
        call: Call::Identify,
        grain: Grain::Raw,
        emails: Emails::All,
        resync_on_new_identifier: true,
        keep_missing: false,
        match_fields: Vec::new(),
        country: None,
        profile: Vec::new(),
        required: Vec::new(),
        profile_columns: lake.profile_columns().to_vec(),
        has_identifiers: project.identifiers.is_some(),
        has_suppressed: false,
        per_trait: false,
    })
}

/// What the rows of such a trait's changes have in common.
pub fn shape(key: &str, columns: &[&str]) -> Arc<Shape> {
    Arc::new(Shape {
        sync: format!("{key}.sink"),
        index: 0,
        call: Call::Identify,
        kind: ModelKind::Trait,
        level: Level::User,
        model_key: key.to_owned(),
        event: "Trait Computed".to_owned(),
        timestamp: "2026-11-20T09:00:00Z".to_owned(),
        columns: columns.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect(),
        identifiers: Vec::new(),
        profile: Vec::new(),
    })
}

pub async fn compare(
    lake: &Lake<'_>,
    records: &Records,
    delivered: &DeliveredFiles,
) -> Outcome<Compared> {
    let comparison = Comparison {
        records,
        delivered,
        reading: Reading::Normal,
        run: "bench",
        origin: "",
        now: now(),
        retry_rejected: false,
        fading: None,
    };
    Ok(engine::compare(lake, &comparison).await?)
}

/// Answers `KEY` with the changes of a first sync of that trait, as a file.
pub async fn serve(words: &[&str]) -> Outcome {
    let [folder] = words else { return Err("a project is needed".into()) };
    let opened = Opened::new(Path::new(folder))?;
    let lake = opened.lake().await?;
    engine::compute(&lake, &Wanted::default(), |_| ()).await?;
    answering(async |words| {
        let [key] = words else { return Err("a model is needed".into()) };
        lake.compute(key).await?;
        let compared = compare(&lake, &records(&lake, key)?, &DeliveredFiles::default()).await?;
        let path = PathBuf::from(folder).join(format!("{key}.changes.parquet"));
        std::fs::rename(&compared.changes.path, &path)?;
        Ok(json!({ "path": path, "rows": compared.changes.rows }))
    })
    .await
}
