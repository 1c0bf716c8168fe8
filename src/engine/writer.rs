//! Parquet files Muster writes for itself, encoded on a thread of their own: whoever makes the rows
//! makes the next ones meanwhile, and waits when it is far ahead.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::encoder::Encoder;
use super::error::EngineError;

/// Bytes of distinct values after which a column is not worth a dictionary: keys never are, and
/// looking each of them up costs more than compressing it.
const DICTIONARY: usize = 64 * 1024;
/// Batches that wait to be encoded.
const AHEAD: usize = 2;

/// Why a stream could not be written: the query behind it, or the disk.
#[derive(Debug)]
pub enum WriteError {
    Query(DataFusionError),
    Disk(Box<dyn std::error::Error + Send + Sync>),
}

/// A Parquet file being written; nothing of it is on disk for good before `finish`. When dropped, its
/// thread has ended.
pub struct Writer {
    batches: Option<SyncSender<RecordBatch>>,
    encoding: Option<JoinHandle<Result<Encoder, ParquetError>>>,
    rows: u64,
}

impl Writer {
    /// `metadata` goes into the footer.
    pub fn create(
        path: &Path,
        schema: SchemaRef,
        metadata: &BTreeMap<&str, String>,
    ) -> Result<Self, WriteError> {
        let file = File::create(path).map_err(disk)?;
        let inner = Encoder::new(file, schema, properties(metadata)).map_err(disk)?;
        let (batches, waiting) = sync_channel(AHEAD);
        let encoding = std::thread::Builder::new()
            .name("muster-writer".into())
            .spawn(move || encode(inner, &waiting))
            .map_err(disk)?;
        Ok(Self { batches: Some(batches), encoding: Some(encoding), rows: 0 })
    }

    pub fn write(&mut self, batch: RecordBatch) -> Result<(), WriteError> {
        self.rows += batch.num_rows() as u64;
        let taken = self.batches.as_ref().map(|batches| batches.send(batch));
        match taken {
            Some(Ok(())) => Ok(()),
            // The thread ended early, and says why.
            Some(Err(_)) | None => self.end().map(|_| ()),
        }
    }

    /// Writes the footer and flushes to disk; how many rows there are.
    pub fn finish(mut self) -> Result<u64, WriteError> {
        let file = self.end()?.finish().map_err(disk)?;
        file.sync_all().map_err(disk)?;
        Ok(self.rows)
    }

    /// Waits until everything is encoded.
    fn end(&mut self) -> Result<Encoder, WriteError> {
        self.batches = None;
        let ended = self.encoding.take().map(JoinHandle::join);
        let lost = || disk(std::io::Error::other("the thread that writes it has stopped"));
        ended.and_then(Result::ok).ok_or_else(lost)?.map_err(disk)
    }
}

impl Drop for Writer {
    /// Whoever writes to the same path next must be alone there.
    fn drop(&mut self) {
        drop(self.end());
    }
}

fn encode(mut inner: Encoder, waiting: &Receiver<RecordBatch>) -> Result<Encoder, ParquetError> {
    for batch in waiting {
        inner.write(&batch)?;
    }
    Ok(inner)
}

/// Least and greatest values are left out: these files are read from end to end.
fn properties(metadata: &BTreeMap<&str, String>) -> WriterProperties {
    let metadata = metadata
        .iter()
        .map(|(key, value)| KeyValue { key: (*key).to_owned(), value: Some(value.clone()) });
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
        .set_dictionary_page_size_limit(DICTIONARY)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_key_value_metadata(Some(metadata.collect()))
        .build()
}

impl From<DataFusionError> for WriteError {
    fn from(error: DataFusionError) -> Self {
        Self::Query(error)
    }
}

fn disk(error: impl std::error::Error + Send + Sync + 'static) -> WriteError {
    WriteError::Disk(Box::new(error))
}

impl WriteError {
    pub fn of(self, what: &str, path: &Path) -> EngineError {
        match self {
            Self::Query(error) => EngineError::of(what, error),
            Self::Disk(source) => EngineError::Write { path: path.to_owned(), source },
        }
    }
}
