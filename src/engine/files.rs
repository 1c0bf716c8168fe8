//! Streams into Parquet files, and Parquet files as tables with their order declared.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::error::{EngineError, Result};
use super::layers::Layers;
use super::parquet_format::Parquet;
use super::session::Session;
use super::writer::{Purpose, WriteError, Writer};
use datafusion::catalog::TableProvider;
use datafusion::common::DataFusionError;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::prelude::col;
use futures::StreamExt;

/// Writes everything a stream yields; how many rows there are.
pub async fn write_stream(
    path: &Path,
    mut stream: SendableRecordBatchStream,
    purpose: Purpose<'_>,
) -> std::result::Result<u64, WriteError> {
    let mut writer = Writer::create(path, stream.schema(), purpose)?;
    while let Some(batch) = stream.next().await {
        writer.write(batch.map_err(WriteError::Query)?)?;
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

/// Sorted files as one table, in which later ones win; `None` when there are none.
pub async fn layered(
    session: &Session,
    paths: impl IntoIterator<Item = &Path>,
    orders: &[&str],
) -> Result<Option<Arc<dyn TableProvider>>> {
    let mut layers = Vec::new();
    for path in paths {
        layers.push(table(session, path, orders).await?);
    }
    Ok(Layers::merged(layers, orders))
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
