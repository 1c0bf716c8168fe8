//! Sealed changes, read back: by rows of some columns, by blocks for delivery, or as they lie in the file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::SchemaRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};

use super::block::{Block, Shape};
use super::encoder::Chunks;
use crate::record::Change;

/// Rows that are read at a time.
pub(super) const BATCH: usize = 8192;

/// What can go wrong while reading sealed changes.
pub type BlocksError = Box<dyn std::error::Error + Send + Sync>;

/// A file of changes, to be read as a whole or one row group after the other. Blocks the thread.
pub(super) struct ChangesFile {
    path: PathBuf,
    file: File,
    metadata: ArrowReaderMetadata,
}

impl ChangesFile {
    pub fn open(path: &Path) -> std::result::Result<Self, BlocksError> {
        let file = File::open(path)?;
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::default())?;
        Ok(Self { path: path.to_owned(), file, metadata })
    }

    pub fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    /// How many rows there are in each row group.
    pub fn groups(&self) -> impl Iterator<Item = usize> {
        let groups = self.metadata.metadata().row_groups().iter();
        groups.map(|group| usize::try_from(group.num_rows()).unwrap_or(0))
    }

    /// Some columns of all rows.
    pub fn columns(
        &self,
        wanted: impl Fn(&str) -> bool,
    ) -> std::result::Result<ParquetRecordBatchReader, BlocksError> {
        self.columns_of_groups((0..self.groups().count()).collect(), wanted)
    }

    /// Some columns of one row group.
    pub fn columns_of_group(
        &self,
        group: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> std::result::Result<ParquetRecordBatchReader, BlocksError> {
        self.columns_of_groups(vec![group], wanted)
    }

    fn columns_of_groups(
        &self,
        groups: Vec<usize>,
        wanted: impl Fn(&str) -> bool,
    ) -> std::result::Result<ParquetRecordBatchReader, BlocksError> {
        let (file, metadata) = (self.file.try_clone()?, self.metadata.clone());
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
        let fields = builder.schema().fields().iter().enumerate();
        let roots = fields.filter(|(_, field)| wanted(field.name())).map(|(index, _)| index);
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots.collect::<Vec<_>>());
        let builder = builder.with_projection(mask).with_row_groups(groups);
        Ok(builder.with_batch_size(BATCH).build()?)
    }

    /// Some columns of one row group as they lie in the file, which is opened anew: what is read
    /// through one opening shares a position, and these are read on another thread.
    pub fn chunks(
        &self,
        group: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> std::result::Result<Chunks, BlocksError> {
        let columns = self.metadata.parquet_schema();
        let leaves = 0..columns.num_columns();
        let wanted =
            |leaf: &usize| wanted(self.schema().field(columns.get_column_root_idx(*leaf)).name());
        let group = self.metadata.metadata().row_group(group);
        let chunks = leaves.filter(wanted).map(|leaf| group.column(leaf).clone()).collect();
        Ok(Chunks { file: File::open(&self.path)?, chunks })
    }
}

/// Reads some columns of a file of changes. Blocks the thread.
fn columns_of(
    path: &Path,
    wanted: impl Fn(&str) -> bool,
) -> std::result::Result<ParquetRecordBatchReader, BlocksError> {
    ChangesFile::open(path)?.columns(wanted)
}

/// Numbers, as half-open ranges, of the rows that a replacement takes off without a message.
pub fn displaced_rows(path: &Path) -> std::result::Result<Vec<[u64; 2]>, BlocksError> {
    let (mut rows, mut number) = (Vec::<[u64; 2]>::new(), 0);
    for batch in columns_of(path, |name| name == "change")? {
        for change in batch?.column(0).as_string::<i32>() {
            if change == Some(Change::Displaced.as_str()) {
                match rows.last_mut() {
                    Some([_, end]) if *end == number => *end += 1,
                    _ => rows.push([number, number + 1]),
                }
            }
            number += 1;
        }
    }
    Ok(rows)
}

/// Reads sealed changes block by block. Blocks the thread.
pub fn read_blocks(
    path: &Path,
    shape: &Arc<Shape>,
) -> std::result::Result<
    impl Iterator<Item = std::result::Result<Block, BlocksError>> + Send + use<>,
    BlocksError,
> {
    let wanted = |name: &str| {
        let prefixes = ["value.", "send.", "id.", "held.", "profile."];
        ["record_key", "subject", "email", "change", "message_id"].contains(&name)
            || prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    let reader = columns_of(path, wanted)?;
    let shape = Arc::clone(shape);
    let mut first_row = 0_u64;
    Ok(reader.map(move |batch| {
        let batch = batch?;
        let block = Block::new(Arc::clone(&shape), first_row, &batch)?;
        first_row += batch.num_rows() as u64;
        Ok(block)
    }))
}
