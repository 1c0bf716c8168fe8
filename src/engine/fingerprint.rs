//! What the records of a model are computed from, as one hash: the same hash twice means that computing
//! again would give the same. `None` means that nobody can tell, and whoever asks has to compute.
//!
//! It covers the SQL of the model and of everything it builds on, the files behind every table (name,
//! size, times, inode), the versions of the engine, and whatever the caller adds. A query that reads the
//! clock or chance has none, and neither has one whose files were written a moment ago: within the
//! grain of a file system's clock they could be written again and look the same.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::Metadata;
use std::path::Path;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use sha2::{Digest, Sha256};

use super::lake::Lake;
use crate::digest::hex;

/// Files younger than this may still be written to without looking different.
const GRAIN: Duration = Duration::from_secs(2);
/// Folders within folders; more of them are taken for a circle of links.
const DEEPEST: u8 = 32;

impl Lake<'_> {
    /// Of the records of one model; `options` is everything else they depend on.
    pub fn fingerprint(&self, model: &str, options: &str, now: DateTime<Utc>) -> Option<String> {
        let mut text = format!(
            "{options}\nmuster {} datafusion {}\n{:?} {:?}\n",
            env!("CARGO_PKG_VERSION"),
            datafusion::DATAFUSION_VERSION,
            self.project().users,
            self.project().accounts,
        );
        let mut tables = BTreeSet::new();
        for query in self.queries_of(model)? {
            let _ =
                writeln!(text, "{} {}\n{}", query.name, query.source.text.len(), query.source.text);
            tables.extend(query.tables);
        }
        let before = SystemTime::from(now).checked_sub(GRAIN)?;
        for table in tables {
            let (path, reading) = self.tables().place(&table)?;
            let _ = writeln!(text, "{table} {reading} {}", path.display());
            describe(path, before, DEEPEST, &mut text)?;
        }
        Some(hex(&Sha256::digest(text.as_bytes())))
    }
}

/// Every file at or below a path, in the order of their names.
fn describe(path: &Path, before: SystemTime, deepest: u8, text: &mut String) -> Option<()> {
    let metadata = std::fs::metadata(path).ok()?;
    if !metadata.is_dir() {
        let modified = metadata.modified().ok()?;
        let since = modified.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let (size, more) = (metadata.len(), identity(&metadata));
        let _ = writeln!(text, "{} {size} {} {more}", path.display(), since.as_nanos());
        return (modified < before).then_some(());
    }
    let entries = std::fs::read_dir(path).ok()?.collect::<Result<Vec<_>, _>>().ok()?;
    let mut paths: Vec<_> = entries.iter().map(std::fs::DirEntry::path).collect();
    paths.sort();
    let deeper = deepest.checked_sub(1)?;
    paths.iter().try_for_each(|path| describe(path, before, deeper, text))
}

/// What also changes when somebody writes a file and sets its times back.
#[cfg(unix)]
fn identity(metadata: &Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    format!("{} {}.{:09}", metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> String {
    String::new()
}

/// Whether a query gives the same on the same tables, whenever it runs.
pub fn is_steady(plan: &LogicalPlan) -> bool {
    let mut steady = true;
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|expression| {
                steady &= is_immutable(expression);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    walked.is_ok() && steady
}

fn is_immutable(expression: &Expr) -> bool {
    let volatility = match expression {
        Expr::ScalarFunction(call) => call.func.signature().volatility,
        Expr::AggregateFunction(call) => call.func.signature().volatility,
        Expr::WindowFunction(call) => call.fun.signature().volatility,
        Expr::ScalarVariable(..) | Expr::Placeholder(_) => Volatility::Volatile,
        _ => Volatility::Immutable,
    };
    volatility == Volatility::Immutable
}
