//! Parquet files Muster writes for itself: streamed out, flushed to disk, and read back as tables with
//! their order declared.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::DataFusionError;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::prelude::col;
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::error::{EngineError, Result};
use super::parquet_format::Parquet;
use super::session::Session;

/// Rows per row group: small enough that a writer holds little, large enough to scan fast.
const ROW_GROUP: usize = 256 * 1024;

/// Why a stream could not be written: the query behind it, or the disk.
#[derive(Debug)]
pub enum WriteError {
    Query(DataFusionError),
    Disk(Box<dyn std::error::Error + Send + Sync>),
}

/// A Parquet file being written; nothing of it is on disk for good before `finish`.
pub struct Writer {
    inner: ArrowWriter<File>,
    rows: u64,
}

impl Writer {
    /// `metadata` goes into the footer.
    pub fn create(
        path: &Path,
        schema: SchemaRef,
        metadata: &BTreeMap<&str, String>,
    ) -> std::result::Result<Self, WriteError> {
        let file = File::create(path).map_err(disk)?;
        let metadata = metadata
            .iter()
            .map(|(key, value)| KeyValue { key: (*key).to_owned(), value: Some(value.clone()) });
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
            .set_max_row_group_row_count(Some(ROW_GROUP))
            .set_key_value_metadata(Some(metadata.collect()))
            .build();
        let inner = ArrowWriter::try_new(file, schema, Some(properties)).map_err(disk)?;
        Ok(Self { inner, rows: 0 })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> std::result::Result<(), WriteError> {
        self.rows += batch.num_rows() as u64;
        self.inner.write(batch).map_err(disk)
    }

    /// Writes the footer and flushes to disk; how many rows there are.
    pub fn finish(self) -> std::result::Result<u64, WriteError> {
        let file = self.inner.into_inner().map_err(disk)?;
        file.sync_all().map_err(disk)?;
        Ok(self.rows)
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

/// Writes everything a stream yields; how many rows there are.
pub async fn write_stream(
    path: &Path,
    stream: SendableRecordBatchStream,
) -> std::result::Result<u64, WriteError> {
    write_stream_with(path, stream, &BTreeMap::new()).await
}

pub async fn write_stream_with(
    path: &Path,
    mut stream: SendableRecordBatchStream,
    metadata: &BTreeMap<&str, String>,
) -> std::result::Result<u64, WriteError> {
    let mut writer = Writer::create(path, stream.schema(), metadata)?;
    while let Some(batch) = stream.next().await {
        writer.write(&batch.map_err(WriteError::Query)?)?;
    }
    writer.finish()
}

/// A Parquet file as a table; it is sorted by each of `orders`, ascending.
pub async fn table(
    session: &Session,
    path: &Path,
    orders: &[&str],
) -> Result<Arc<dyn TableProvider>> {
    let failed = |source: DataFusionError| EngineError::Read {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let url = url::Url::from_file_path(path).map_err(|()| EngineError::Read {
        path: path.to_owned(),
        source: "not an absolute path".into(),
    })?;
    // NULLS FIRST although keys are never NULL: with any other order DataFusion sorts again.
    let orders = orders.iter().map(|order| vec![col(*order).sort(true, true)]).collect();
    let state = session.state();
    let options = ListingOptions::new(Arc::new(Parquet::default()))
        .with_file_extension("")
        .with_file_sort_order(orders);
    let url = ListingTableUrl::try_new(url, None).map_err(failed)?;
    let config = ListingTableConfig::new(url).with_listing_options(options);
    let config = config.infer_schema(&state).await.map_err(failed)?;
    Ok(Arc::new(ListingTable::try_new(config).map_err(failed)?))
}

/// Key-value metadata and row count of a Parquet file; fails when the footer does not hold.
pub fn footer(path: &Path) -> Result<(BTreeMap<String, String>, u64)> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| EngineError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(|error| failed(Box::new(error)))?;
    let metadata = parquet::file::metadata::ParquetMetaDataReader::new()
        .parse_and_finish(&file)
        .map_err(|error| failed(Box::new(error)))?;
    let file = metadata.file_metadata();
    let pairs = file.key_value_metadata().into_iter().flatten();
    let pairs = pairs.filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?)));
    Ok((pairs.collect(), u64::try_from(file.num_rows()).unwrap_or(0)))
}
