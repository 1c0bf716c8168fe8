//! Canonical messages as one Parquet file in memory.
//!
//! The columns are the same whatever the messages hold, so that any number of such files is one
//! table: what differs from model to model stays JSON text.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

/// One canonical message, read back from its encoded form.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageRow<'a> {
    #[serde(borrow)]
    pub message_id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    pub call: Cow<'a, str>,
    /// RFC 3339.
    #[serde(borrow)]
    pub timestamp: Cow<'a, str>,
    #[serde(borrow)]
    pub user_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub group_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub event: Option<Cow<'a, str>>,
    /// Not part of the canonical form at this place; set by the caller.
    #[serde(skip)]
    pub email: Option<&'a str>,
    #[serde(borrow)]
    pub traits: Option<&'a RawValue>,
    #[serde(borrow)]
    pub properties: Option<&'a RawValue>,
    #[serde(borrow)]
    pub context: Option<&'a RawValue>,
}

/// Messages that could not be made a Parquet file.
#[derive(Debug, Error)]
pub enum MessagesError {
    #[error("the messages do not form columns")]
    Columns(#[source] ArrowError),
    #[error("the messages could not be written as Parquet")]
    Write(#[source] ParquetError),
}

/// A complete Parquet file: `message_id`, `type`, `timestamp`, `user_id`, `group_id`, `event`,
/// `email`, `traits`, `properties`, `context`.
pub fn messages_to_parquet(messages: &[MessageRow<'_>]) -> Result<Vec<u8>, MessagesError> {
    let batch = columns(messages).map_err(MessagesError::Columns)?;
    write(&batch).map_err(MessagesError::Write)
}

fn columns(messages: &[MessageRow<'_>]) -> Result<RecordBatch, ArrowError> {
    let text = |get: &dyn for<'r> Fn(&'r MessageRow<'_>) -> Option<&'r str>| -> ArrayRef {
        Arc::new(messages.iter().map(get).collect::<StringArray>())
    };
    RecordBatch::try_from_iter_with_nullable([
        ("message_id", text(&|row| Some(&row.message_id)), false),
        ("type", text(&|row| Some(&row.call)), false),
        ("timestamp", timestamps(messages), true),
        ("user_id", text(&|row| row.user_id.as_deref()), true),
        ("group_id", text(&|row| row.group_id.as_deref()), true),
        ("event", text(&|row| row.event.as_deref()), true),
        ("email", text(&|row| row.email), true),
        ("traits", text(&|row| row.traits.map(RawValue::get)), true),
        ("properties", text(&|row| row.properties.map(RawValue::get)), true),
        ("context", text(&|row| row.context.map(RawValue::get)), true),
    ])
}

fn timestamps(messages: &[MessageRow<'_>]) -> ArrayRef {
    let micros = |row: &MessageRow<'_>| {
        let at = chrono::DateTime::parse_from_rfc3339(&row.timestamp).ok()?;
        Some(at.timestamp_micros())
    };
    let array: TimestampMicrosecondArray = messages.iter().map(micros).collect();
    Arc::new(array.with_timezone("UTC"))
}

fn write(batch: &RecordBatch) -> Result<Vec<u8>, ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
    writer.write(batch)?;
    writer.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

    #[test]
    fn what_is_written_reads_back() {
        let json = r#"{"type":"track","messageId":"a1","timestamp":"2026-11-20T09:00:00Z",
            "userId":"ü\"1","event":"Audience Entered","properties":{"vip":true},"context":{}}"#;
        let row: MessageRow<'_> = serde_json::from_str(json).unwrap();
        let rows = [MessageRow { email: Some("a@example.org"), ..row }];
        let file = Bytes::from(messages_to_parquet(&rows).unwrap());
        let mut reader = ParquetRecordBatchReader::try_new(file, 10).unwrap();
        let batch = reader.next().unwrap().unwrap();
        let shown = arrow::util::pretty::pretty_format_batches(&[batch]).unwrap().to_string();
        insta::assert_snapshot!(shown, @r#"
        +------------+-------+----------------------+---------+----------+------------------+---------------+--------+--------------+---------+
        | message_id | type  | timestamp            | user_id | group_id | event            | email         | traits | properties   | context |
        +------------+-------+----------------------+---------+----------+------------------+---------------+--------+--------------+---------+
        | a1         | track | 2026-11-20T09:00:00Z | ü"1     |          | Audience Entered | a@example.org |        | {"vip":true} | {}      |
        +------------+-------+----------------------+---------+----------+------------------+---------------+--------+--------------+---------+
        "#);
    }
}
