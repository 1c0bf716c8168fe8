//! Encodes Parquet on more than one core: a query that groups hands over all of its rows at the end, and
//! by then nothing else is left to do.

use std::fs::File;
use std::sync::{Mutex, PoisonError};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use parquet::arrow::arrow_writer::{
    ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriter, compute_leaves,
};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};

/// Rows per row group: small enough that a writer holds little, large enough to scan fast.
const ROW_GROUP: usize = 256 * 1024;
/// More threads have little to share out among them.
const MOST_THREADS: usize = 4;
/// Rows below which threads cost more than they take over.
const FEW_ROWS: usize = 1024;

/// Columns of a row group as they lie in another file.
pub(super) struct Chunks {
    pub file: File,
    pub chunks: Vec<ColumnChunkMetaData>,
}

/// Like [`ArrowWriter`], with the columns of every batch shared out among threads.
pub(super) struct Encoder {
    file: SerializedFileWriter<File>,
    factory: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    threads: usize,
    /// Of the row group that is being filled.
    columns: Vec<ArrowColumnWriter>,
    rows: usize,
}

impl Encoder {
    pub fn new(file: File, schema: SchemaRef, properties: WriterProperties) -> Result<Self> {
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties))?;
        let (file, factory) = writer.into_serialized_writer()?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = cores.min(MOST_THREADS);
        Ok(Self { file, factory, schema, threads, columns: Vec::new(), rows: 0 })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut done = 0;
        while done < batch.num_rows() {
            if self.rows == 0 {
                let row_group = self.file.flushed_row_groups().len();
                self.columns = self.factory.create_column_writers(row_group)?;
            }
            let rows = (ROW_GROUP - self.rows).min(batch.num_rows() - done);
            self.encode(&batch.slice(done, rows))?;
            done += rows;
            self.rows += rows;
            if self.rows == ROW_GROUP {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes what is left and the footer.
    pub fn finish(mut self) -> Result<File> {
        self.flush()?;
        self.file.into_inner()
    }

    /// A row group whose first columns are taken over as they are, neither decoded nor encoded; in
    /// the others all rows are the same, and `others` holds some of them.
    pub fn take_over(&mut self, first: &Chunks, others: &RecordBatch, rows: usize) -> Result<()> {
        self.flush()?;
        let row_group = self.file.flushed_row_groups().len();
        let mut columns = self.factory.create_column_writers(row_group)?;
        self.columns = columns.split_off(first.chunks.len());
        let mut done = 0;
        while done < rows {
            let some = others.num_rows().min(rows - done);
            self.encode(&others.slice(0, some))?;
            done += some;
        }
        let mut group = self.file.next_row_group()?;
        for chunk in &first.chunks {
            group.append_column(&first.file, as_it_lies(chunk, rows))?;
        }
        close(self.columns.drain(..), group)
    }

    /// Into the last columns, as many as the batch has.
    fn encode(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut leaves = Vec::with_capacity(self.columns.len());
        let fields = self.schema.fields();
        let fields = &fields[fields.len() - batch.num_columns()..];
        for (field, array) in fields.iter().zip(batch.columns()) {
            leaves.extend(compute_leaves(field, array)?);
        }
        let work = Mutex::new(self.columns.iter_mut().zip(leaves));
        let next = || work.lock().unwrap_or_else(PoisonError::into_inner).next();
        let run = || {
            while let Some((column, leaf)) = next() {
                column.write(&leaf)?;
            }
            Ok(())
        };
        let helpers = if batch.num_rows() < FEW_ROWS { 0 } else { self.threads - 1 };
        std::thread::scope(|scope| {
            let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(run)).collect();
            let mine = run();
            let ended =
                helpers.into_iter().map(|helper| helper.join().unwrap_or_else(|_| Err(lost())));
            ended.fold(mine, Result::and)
        })
    }

    /// Ends the row group.
    fn flush(&mut self) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        self.rows = 0;
        close(self.columns.drain(..), self.file.next_row_group()?)
    }
}

/// Ends a row group with these columns.
fn close(
    columns: impl Iterator<Item = ArrowColumnWriter>,
    mut group: SerializedRowGroupWriter<'_, File>,
) -> Result<()> {
    for column in columns {
        column.close()?.append_to_row_group(&mut group)?;
    }
    group.close()?;
    Ok(())
}

fn as_it_lies(chunk: &ColumnChunkMetaData, rows: usize) -> ColumnCloseResult {
    ColumnCloseResult {
        bytes_written: chunk.compressed_size().unsigned_abs(),
        rows_written: rows as u64,
        metadata: chunk.clone(),
        bloom_filter: None,
        column_index: None,
        offset_index: None,
    }
}

fn lost() -> ParquetError {
    ParquetError::General("a thread that encodes has stopped".into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        ArrayRef, Int64Array, ListBuilder, StringArray, StringBuilder, StructArray,
    };
    use datafusion::arrow::compute::concat_batches;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    /// Rows with and without values, nested ones among them.
    fn rows(numbers: std::ops::Range<i64>) -> RecordBatch {
        let known = |number: &i64| number % 3 > 0;
        let texts: StringArray =
            numbers.clone().map(|number| known(&number).then(|| format!("u{number}"))).collect();
        let mut lists = ListBuilder::new(StringBuilder::new());
        for number in numbers.clone() {
            for item in 0..number % 4 {
                lists.values().append_option((item != 1).then(|| item.to_string()));
            }
            lists.append(known(&number));
        }
        let whole: ArrayRef = Arc::new(numbers.collect::<Int64Array>());
        let texts: ArrayRef = Arc::new(texts);
        let inner = StructArray::try_from(vec![("a", Arc::clone(&whole)), ("b", texts.clone())]);
        let columns: [(&str, ArrayRef); 4] = [
            ("number", whole),
            ("text", texts),
            ("list", Arc::new(lists.finish())),
            ("both", Arc::new(inner.unwrap())),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))
            .unwrap()
    }

    #[test]
    fn what_several_threads_encode_is_read_as_it_was_written() {
        let batches = [rows(0..10), rows(10..200_000), rows(200_000..300_000)];
        let mut encoder = Encoder::new(
            tempfile::tempfile().unwrap(),
            batches[0].schema(),
            WriterProperties::default(),
        )
        .unwrap();
        encoder.threads = 3;
        for batch in &batches {
            encoder.write(batch).unwrap();
        }
        let file = encoder.finish().unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let groups = reader.metadata().row_groups().iter().map(|group| group.num_rows());
        assert_eq!(groups.collect::<Vec<_>>(), [262_144, 37_856]);
        let read: Result<Vec<_>, _> = reader.build().unwrap().collect();
        let schema = batches[0].schema();
        let read = concat_batches(&schema, &read.unwrap()).unwrap();
        assert_eq!(read, concat_batches(&schema, &batches).unwrap());
    }
}
