//! Records that cannot be sent because they lack what the destination needs: listed with the reason,
//! never among the desired records.

use std::path::{Path, PathBuf};

use datafusion::common::TableReference;

use super::error::{EngineError, Result};
use super::files;
use super::lake::{INTERNAL, Lake};
use super::records::Records;
use super::session::Session;

/// What of a sync cannot be sent.
#[derive(Debug, Clone, Default)]
pub struct Invalid {
    /// Among the rows of the desired records.
    pub(super) desired: u64,
    pub rows: u64,
    /// Every reason, and how many records it concerns; the most frequent first.
    pub reasons: Vec<(String, u64)>,
    /// The list: subject and reason.
    pub path: Option<PathBuf>,
}

/// Lists them into a file of the scratch folder; no query runs where nothing can be invalid. Without a
/// file of desired records it lists only whom the destination could not tell apart.
pub(super) async fn list(
    lake: &Lake<'_>,
    records: &Records,
    desired: Option<&Path>,
    what: &str,
) -> Result<Invalid> {
    let session = lake.session();
    let desired = desired.filter(|_| records.can_be_invalid());
    let mut queries: Vec<String> = records.unreachable_sql().into_iter().collect();
    if let Some(desired) = desired {
        let table = files::table(session, desired, &[]).await?;
        let name = TableReference::partial(INTERNAL, "desired");
        session.register(name, table).map_err(|error| EngineError::of(what, error))?;
        queries.push(format!(
            "SELECT subject, invalid AS reason FROM {INTERNAL}.desired WHERE invalid IS NOT NULL"
        ));
    }
    if queries.is_empty() {
        return Ok(Invalid::default());
    }
    let path = session.scratch(&format!("{}.invalid.parquet", records.sync));
    let rows = session.write(what, &queries.join("\nUNION ALL\n"), &path).await?;
    if rows == 0 {
        drop(std::fs::remove_file(&path));
        return Ok(Invalid::default());
    }
    let mut invalid = Invalid { rows, path: Some(path.clone()), ..Invalid::default() };
    let table = files::table(session, &path, &[]).await?;
    let name = TableReference::partial(INTERNAL, "invalid");
    session.register(name, table).map_err(|error| EngineError::of(what, error))?;
    if desired.is_some() {
        let sql = format!("SELECT count(*) FROM {INTERNAL}.desired WHERE invalid IS NOT NULL");
        invalid.desired = session.counts(what, &sql).await?[0];
    }
    invalid.reasons = reasons(session, what).await?;
    Ok(invalid)
}

async fn reasons(session: &Session, what: &str) -> Result<Vec<(String, u64)>> {
    let sql = format!(
        "SELECT reason, CAST(count(*) AS BIGINT) AS records FROM {INTERNAL}.invalid \
         GROUP BY reason ORDER BY records DESC, reason"
    );
    let rows = session.texts(what, &sql).await?;
    let reason = |[reason, count]: [Option<String>; 2]| {
        (reason.unwrap_or_default(), count.and_then(|count| count.parse().ok()).unwrap_or(0))
    };
    Ok(rows.into_iter().map(reason).collect())
}

/// The rows of a list that an earlier run left: subject and reason.
pub async fn invalid_rows(session: &Session, path: &Path) -> Result<Vec<(String, String)>> {
    let what = "the list of invalid records";
    let ordered = session.ordered()?;
    let table = files::table(&ordered, path, &[]).await?;
    ordered.register("invalid", table).map_err(|error| EngineError::of(what, error))?;
    let sql = "SELECT subject, reason FROM invalid ORDER BY subject, reason";
    let rows = ordered.texts(what, sql).await?;
    Ok(rows.into_iter().map(|row| row.map(Option::unwrap_or_default).into()).collect())
}
