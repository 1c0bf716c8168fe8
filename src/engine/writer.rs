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
use parquet::schema::types::ColumnPath;

use super::encoder::{Chunks, Encoder};
use super::error::EngineError;

/// Bytes of distinct values after which a column is not worth a dictionary: keys never are, and
/// looking each of them up costs more than compressing it.
const DICTIONARY: usize = 64 * 1024;
/// Columns in which no two values have anything in common.
const HASHES: [&str; 2] = ["message_id", "fingerprint"];
/// Pieces that wait to be encoded.
const AHEAD: usize = 2;

/// Why a stream could not be written: the query behind it, or the disk.
#[derive(Debug)]
pub enum WriteError {
    Query(DataFusionError),
    Disk(Box<dyn std::error::Error + Send + Sync>),
}

/// What a file is for.
#[derive(Debug, Clone, Copy)]
pub enum Purpose<'a> {
    /// Read in this run, and gone after it: compressed fast rather than well.
    Scratch,
    /// Part of the state, or to become one; with what its footer says.
    State(&'a BTreeMap<&'a str, String>),
}

/// What is written next.
enum Piece {
    Rows(RecordBatch),
    /// See [`Encoder::take_over`].
    Group {
        first: Chunks,
        others: RecordBatch,
        rows: usize,
    },
}

/// A Parquet file being written, not to be read before `finish`. When dropped, its thread has ended.
pub struct Writer {
    pieces: Option<SyncSender<Piece>>,
    encoding: Option<JoinHandle<Result<Encoder, ParquetError>>>,
    rows: u64,
}

impl Writer {
    pub fn create(
        path: &Path,
        schema: SchemaRef,
        purpose: Purpose<'_>,
    ) -> Result<Self, WriteError> {
        let file = File::create(path).map_err(disk)?;
        let inner = Encoder::new(file, schema, purpose.properties()).map_err(disk)?;
        let (pieces, waiting) = sync_channel(AHEAD);
        let encoding = std::thread::Builder::new()
            .name("muster-writer".into())
            .spawn(move || encode(inner, &waiting))
            .map_err(disk)?;
        Ok(Self { pieces: Some(pieces), encoding: Some(encoding), rows: 0 })
    }

    pub fn write(&mut self, batch: RecordBatch) -> Result<(), WriteError> {
        self.rows += batch.num_rows() as u64;
        self.put(Piece::Rows(batch))
    }

    /// A row group whose first columns lie in another file; in the others all rows are the same, and
    /// `others` holds some of them.
    pub fn take_over(
        &mut self,
        first: Chunks,
        others: RecordBatch,
        rows: usize,
    ) -> Result<(), WriteError> {
        self.rows += rows as u64;
        self.put(Piece::Group { first, others, rows })
    }

    fn put(&mut self, piece: Piece) -> Result<(), WriteError> {
        let taken = self.pieces.as_ref().map(|pieces| pieces.send(piece));
        match taken {
            Some(Ok(())) => Ok(()),
            // The thread ended early, and says why.
            Some(Err(_)) | None => self.end().map(|_| ()),
        }
    }

    /// Writes the footer; how many rows there are. Nothing is flushed to disk: what becomes part of the
    /// state is when it does.
    pub fn finish(mut self) -> Result<u64, WriteError> {
        self.end()?.finish().map_err(disk)?;
        Ok(self.rows)
    }

    /// Waits until everything is encoded.
    fn end(&mut self) -> Result<Encoder, WriteError> {
        self.pieces = None;
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

fn encode(mut inner: Encoder, waiting: &Receiver<Piece>) -> Result<Encoder, ParquetError> {
    for piece in waiting {
        match piece {
            Piece::Rows(batch) => inner.write(&batch)?,
            Piece::Group { first, others, rows } => inner.take_over(&first, &others, rows)?,
        }
    }
    Ok(inner)
}

impl Purpose<'_> {
    /// Least and greatest values and where pages lie are left out: these files are read from end to
    /// end, and columns that are taken over bring none along.
    fn properties(self) -> WriterProperties {
        let (compression, metadata) = match self {
            Self::Scratch => (Compression::LZ4_RAW, None),
            Self::State(metadata) => {
                let pairs = metadata.iter().map(|(key, value)| KeyValue {
                    key: (*key).to_owned(),
                    value: Some(value.clone()),
                });
                let level = ZstdLevel::try_new(1).unwrap_or_default();
                (Compression::ZSTD(level), Some(pairs.collect()))
            }
        };
        let mut properties = WriterProperties::builder();
        for name in HASHES {
            let column = ColumnPath::from(name);
            properties = properties
                .set_column_compression(column.clone(), Compression::UNCOMPRESSED)
                .set_column_dictionary_enabled(column, false);
        }
        properties
            .set_compression(compression)
            .set_dictionary_page_size_limit(DICTIONARY)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_offset_index_disabled(true)
            .set_key_value_metadata(metadata)
            .build()
    }
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
