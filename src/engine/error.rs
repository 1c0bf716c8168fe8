//! What can go wrong while computing, worded for the person who wrote the SQL or owns the state.

use std::path::PathBuf;

use datafusion::common::DataFusionError;
use datafusion::error::DataFusionError as Root;
use thiserror::Error;

use crate::finding::Finding;

pub type Result<T> = std::result::Result<T, EngineError>;

#[derive(Debug, Error)]
pub enum EngineError {
    /// Something the user wrote is wrong.
    #[error("{}", .0.message)]
    Finding(Box<Finding>),
    /// A query needed more memory than `memory_limit` allows and could not spill.
    #[error("{what} needs more memory than `memory_limit` allows, and cannot spill")]
    Exhausted { what: String, detail: String },
    /// DataFusion refused or failed.
    #[error("{what} failed")]
    Failed {
        what: String,
        #[source]
        source: Box<DataFusionError>,
    },
    #[error("could not write `{path}`")]
    Write {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("could not read `{path}`")]
    Read {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<Finding> for EngineError {
    fn from(finding: Finding) -> Self {
        Self::Finding(Box::new(finding))
    }
}

impl EngineError {
    /// Wraps a failure of `what`, telling memory that ran out from everything else.
    pub(super) fn of(what: impl Into<String>, source: DataFusionError) -> Self {
        let what = what.into();
        match source.find_root() {
            Root::ResourcesExhausted(detail) => Self::Exhausted { what, detail: detail.clone() },
            _ => Self::Failed { what, source: Box::new(source) },
        }
    }

    /// The error as something to show.
    pub fn finding(&self) -> Finding {
        match self {
            Self::Finding(finding) => (**finding).clone(),
            Self::Exhausted { detail, .. } => wanted(detail)
                .fold(Finding::error("E02", self.to_string()), Finding::note)
                .hint("raise `memory_limit` in `[project]`, or make the query smaller"),
            Self::Failed { source, .. } => {
                Finding::error("E01", self.to_string()).note(first_line(&plain(source)))
            }
            Self::Write { source, .. } => Finding::error("E03", self.to_string())
                .note(first_line(&source.to_string()))
                .hint("check that there is room on the disk and that the folder can be written"),
            Self::Read { source, .. } => Finding::error("E04", self.to_string())
                .note(first_line(&source.to_string()))
                .hint("restore the file, or remove it if it can be made again"),
        }
    }
}

/// Who wanted how much, and who held most.
fn wanted(detail: &str) -> impl Iterator<Item = String> {
    let lines = detail.lines().map(|line| line.trim().trim_start_matches("Error: "));
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("Additional allocation"));
    lines.map(|line| line.trim_end_matches([',', '.']).to_owned())
}

/// DataFusion's message without its chain of wrappers and without a backtrace.
pub(super) fn plain(error: &DataFusionError) -> String {
    match error {
        Root::Diagnostic(diagnostic, _) => diagnostic.message.clone(),
        Root::Context(_, inner) => plain(inner),
        Root::Shared(inner) => plain(inner),
        other => other.strip_backtrace(),
    }
}

pub(super) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
