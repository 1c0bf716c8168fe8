//! What differs, in the order of its keys without being sorted.
//!
//! A full outer merge join yields what is wanted in the order of `desired` and what is not in the order of
//! `delivered`, but not the one in step with the other. So each of them becomes a file of its own, which is in
//! order, and both are read as one table. However much differs, a batch of it is held.

use std::path::{Path, PathBuf};

use datafusion::arrow::array::{AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::{cast, filter_record_batch, not};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::StreamExt;

use super::error::{EngineError, Result};
use super::files;
use super::session::Session;
use super::writer::{Purpose, WriteError, Writer};

/// Two scratch files, gone when this is dropped.
pub struct Differing {
    wanted: PathBuf,
    leaving: PathBuf,
    /// Of both.
    rows: u64,
}

impl Differing {
    /// Runs [`Difference::differing`](super::difference::Difference::differing) in an ordered session.
    pub async fn write(session: &Session, what: &str, sql: &str, sync: &str) -> Result<Self> {
        let path = |name: &str| session.scratch(&format!("{sync}.{name}.parquet"));
        let mut differing = Self { wanted: path("wanted"), leaving: path("leaving"), rows: 0 };
        if !differing.run(session, what, sql).await? {
            // The order comes of the way DataFusion joins; it does not promise it, and may join another way.
            tracing::info!("A merge did not yield its rows in order; once more, sorting them");
            let sorted = format!("{sql}\nORDER BY record_key ASC NULLS FIRST");
            if !differing.run(session, what, &sorted).await? {
                let error = DataFusionError::Internal("sorted rows are not in order".into());
                return Err(EngineError::of(what, error));
            }
        }
        Ok(differing)
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// As the table `differing`.
    pub async fn register(&self, session: &Session, orders: &[&str]) -> Result<()> {
        let paths = [self.wanted.as_path(), &self.leaving];
        let Some(table) = files::layered(session, paths, orders).await? else { return Ok(()) };
        let failed = |error| EngineError::of("reading what differs", error);
        session.register("differing", table).map_err(failed)
    }

    /// Those of them who are not wanted, as the table `leaving`.
    pub async fn register_leaving(&self, session: &Session) -> Result<()> {
        let leaving = files::table(session, &self.leaving, &[]).await?;
        let failed = |error| EngineError::of("reading who leaves", error);
        session.register("leaving", leaving).map_err(failed)
    }

    /// Whether the rows came in order; if not, the files are not complete.
    async fn run(&mut self, session: &Session, what: &str, sql: &str) -> Result<bool> {
        let plan = session.plan(sql).await.map_err(|error| EngineError::of(what, error))?;
        let write = async |stream| divide(stream, &self.wanted, &self.leaving).await;
        let rows = session.execute(&plan, write).await;
        let rows = rows.map_err(|error| error.of(what, &self.wanted))?;
        self.rows = rows.unwrap_or(0);
        Ok(rows.is_some())
    }
}

impl Drop for Differing {
    fn drop(&mut self) {
        for path in [&self.wanted, &self.leaving] {
            drop(std::fs::remove_file(path));
        }
    }
}

/// Writes what is wanted into one file and what is not into another; how many rows there are, or `None`
/// when they do not come in order.
async fn divide(
    mut stream: SendableRecordBatchStream,
    wanted: &Path,
    leaving: &Path,
) -> std::result::Result<Option<u64>, WriteError> {
    let mut wanted = Ordered::create(wanted, stream.schema())?;
    let mut leaving = Ordered::create(leaving, stream.schema())?;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(WriteError::Query)?;
        let marks = marks(&batch).map_err(WriteError::Query)?;
        let rest = not(&marks).map_err(DataFusionError::from)?;
        if !(wanted.take(&batch, &marks)? && leaving.take(&batch, &rest)?) {
            return Ok(None);
        }
    }
    Ok(Some(wanted.writer.finish()? + leaving.writer.finish()?))
}

/// Which rows are wanted.
fn marks(batch: &RecordBatch) -> std::result::Result<BooleanArray, DataFusionError> {
    let column = batch.column_by_name("wanted").and_then(|column| column.as_boolean_opt());
    let missing = || DataFusionError::Internal("no column `wanted`".into());
    column.cloned().ok_or_else(missing)
}

/// A file in the order of its keys.
struct Ordered {
    writer: Writer,
    last: Option<String>,
}

impl Ordered {
    fn create(path: &Path, schema: SchemaRef) -> std::result::Result<Self, WriteError> {
        Ok(Self { writer: Writer::create(path, schema, Purpose::Scratch)?, last: None })
    }

    /// Writes the marked rows; `false` when one of them belongs before the last.
    fn take(
        &mut self,
        batch: &RecordBatch,
        marks: &BooleanArray,
    ) -> std::result::Result<bool, WriteError> {
        let batch = filter_record_batch(batch, marks).map_err(DataFusionError::from)?;
        if batch.num_rows() == 0 {
            return Ok(true);
        }
        let missing = || DataFusionError::Internal("no column `record_key`".into());
        let keys = batch.column_by_name("record_key").ok_or_else(missing)?;
        let keys = cast(keys, &DataType::Utf8View).map_err(DataFusionError::from)?;
        let keys = keys.as_string_view();
        let mut last = self.last.as_deref();
        for key in keys {
            if last > key {
                return Ok(false);
            }
            last = key;
        }
        self.last = last.map(ToOwned::to_owned);
        self.writer.write(batch)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::tests::session;
    use super::*;

    /// Keys and whether they are wanted, as the table `differing` has them.
    async fn written(rows: &str) -> Vec<[Option<String>; 2]> {
        let scratch = tempfile::tempdir().unwrap();
        let merge = session(64 << 20, &scratch).ordered().unwrap();
        let sql = format!(
            "SELECT column1 AS record_key, column1 AS subject, column2 AS wanted FROM (VALUES {rows})"
        );
        let differing = Differing::write(&merge, "it", &sql, "sync").await.unwrap();
        differing.register(&merge, &["record_key", "subject"]).await.unwrap();
        let read = merge.texts("it", "SELECT record_key, wanted FROM differing").await.unwrap();
        assert_eq!(differing.rows(), read.len() as u64);
        drop(differing);
        let left: Vec<_> = std::fs::read_dir(scratch.path()).unwrap().collect();
        assert!(left.iter().all(|entry| entry.as_ref().unwrap().path().is_dir()), "{left:?}");
        read
    }

    fn rows(rows: &[(&str, &str)]) -> Vec<[Option<String>; 2]> {
        rows.iter().map(|(key, wanted)| [Some((*key).into()), Some((*wanted).into())]).collect()
    }

    #[tokio::test]
    async fn what_is_wanted_and_what_is_not_are_merged_by_their_keys() {
        let found =
            written("('b', true), ('d', true), ('a', false), ('c', false), ('e', true)").await;
        let all = [("a", "false"), ("b", "true"), ("c", "false"), ("d", "true"), ("e", "true")];
        assert_eq!(found, rows(&all));
        assert_eq!(
            written("('a', true), ('b', true)").await,
            rows(&[("a", "true"), ("b", "true")])
        );
        assert_eq!(written("('a', false)").await, rows(&[("a", "false")]));
    }

    /// A file of the keys of `numbers`, sorted and with its order declared, as a table.
    async fn keys(merge: &Session, table: &str, numbers: &str) {
        let sql = format!(
            "SELECT 'u' || lpad(CAST(value AS VARCHAR), 6, '0') AS record_key, value % 7 AS rest \
             FROM generate_series(0, 99999) WHERE {numbers} ORDER BY record_key"
        );
        let path = merge.scratch(&format!("{table}.parquet"));
        merge.write("it", &sql, &path).await.unwrap();
        let file = files::table(merge, &path, &["record_key"]).await.unwrap();
        merge.register(table, file).unwrap();
    }

    #[tokio::test]
    async fn a_full_merge_join_yields_both_in_order() {
        let scratch = tempfile::tempdir().unwrap();
        let merge = session(64 << 20, &scratch).ordered().unwrap();
        keys(&merge, "desired", "value % 3 > 0 AND value % 1000 < 990").await;
        keys(&merge, "delivered", "value % 5 > 0").await;
        let sql = "SELECT coalesce(d.record_key, p.record_key) AS record_key, \
                   d.record_key IS NOT NULL AS wanted \
                   FROM desired AS d FULL JOIN delivered AS p ON d.record_key = p.record_key \
                   WHERE d.record_key IS NULL OR p.record_key IS NULL OR d.rest = 0";
        assert!(merge.explain(sql).await.unwrap().contains("join_type=Full"));
        let mut differing = Differing::write(&merge, "it", sql, "sync").await.unwrap();
        assert!(differing.run(&merge, "it", sql).await.unwrap(), "and nothing was sorted");
        differing.register(&merge, &["record_key"]).await.unwrap();
        let found = merge.texts("it", "SELECT record_key, wanted FROM differing").await.unwrap();
        let expected = (0..100_000).filter_map(|number| {
            let wanted = number % 3 > 0 && number % 1000 < 990;
            let known = number % 5 > 0;
            let differs = wanted != known || (wanted && number % 7 == 0);
            let [key, wanted] = [format!("u{number:06}"), wanted.to_string()];
            differs.then_some([Some(key), Some(wanted)])
        });
        assert_eq!(found, expected.collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_does_not_come_in_order_is_sorted() {
        let found = written("('b', true), ('a', true), ('d', false), ('c', false)").await;
        let all = [("a", "true"), ("b", "true"), ("c", "false"), ("d", "false")];
        assert_eq!(found, rows(&all));
    }
}
