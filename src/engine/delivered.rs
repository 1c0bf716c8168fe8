//! What was delivered: a base and deltas, sorted by record key, and now and then compacted into a new
//! base.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use datafusion::arrow::datatypes::SchemaRef;

use super::error::{EngineError, Result};
use super::files;
use super::session::Session;
use super::writer::Purpose;

/// Where what one sync delivered lies.
#[derive(Debug, Clone, Default)]
pub struct DeliveredFiles {
    /// `None`: nothing was ever delivered, or only deltas were written so far.
    pub base: Option<PathBuf>,
    /// What changed since, one file per run, the oldest first.
    pub deltas: Vec<PathBuf>,
    /// The latest run did not get everything through.
    pub uneven: bool,
}

/// Version of the layout of the file.
pub const DELIVERED_FORMAT: &str = "1";

/// Registers the table `delivered` in an ordered session; its columns, or `None` when nothing was
/// ever delivered.
pub async fn register(
    session: &Session,
    files: &DeliveredFiles,
    orders: &[&str],
) -> Result<Option<SchemaRef>> {
    let paths = files.base.iter().chain(&files.deltas).map(PathBuf::as_path);
    let Some(table) = files::layered(session, paths, orders).await? else { return Ok(None) };
    let schema = table.schema();
    session
        .register("delivered", table)
        .map_err(|error| EngineError::of("reading what was delivered", error))?;
    Ok(Some(schema))
}

/// Merges all layers into one file, sorted by record key. How many rows it holds.
pub async fn compact(
    session: &Session,
    files: &DeliveredFiles,
    into: &Path,
    metadata: &BTreeMap<&str, String>,
) -> Result<u64> {
    let failed = |error| EngineError::of("folding what was delivered", error);
    let ordered = session.ordered()?;
    if register(&ordered, files, &["record_key"]).await?.is_none() {
        return Ok(0);
    }
    let sql = "SELECT * FROM delivered ORDER BY record_key ASC NULLS FIRST";
    let plan = ordered.plan(sql).await.map_err(failed)?;
    let write = async |stream| files::write_stream(into, stream, Purpose::State(metadata)).await;
    let rows = ordered.execute(&plan, write).await;
    rows.map_err(|error| error.of("folding what was delivered", into))
}
