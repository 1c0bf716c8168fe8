//! Answers to people: any query's rows as JSON values, and Muster's own records as tables.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::arrow::json::writer::LineDelimited;
use datafusion::arrow::json::{ReaderBuilder, WriterBuilder};
use datafusion::common::TableReference;
use datafusion::datasource::MemTable;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::StreamExt;
use serde_json::Value;

use super::columns::literal;
use super::delivered::{self, DeliveredFiles};
use super::error::{EngineError, Result};
use super::files;
use super::lake::{INTERNAL, Lake};
use super::session::Session;
use super::sql;
use super::writer::WriteError;
use crate::destinations::FieldKind;
use crate::finding::Source;

/// Rows of an answer, and the names of their columns.
#[derive(Debug, Clone)]
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

/// Runs one query; at most `limit` rows of it.
pub async fn answer(lake: &Lake<'_>, source: &Source, limit: Option<usize>) -> Result<Rows> {
    let parsed = sql::parse(source)?;
    let failed = |error| EngineError::from(sql::failure(source, &error));
    for reference in &parsed.references {
        if !lake.open(reference).await? {
            let known = lake.tables().names();
            return Err(sql::unknown_table(source, reference, known).into());
        }
    }
    let session = lake.session();
    let plan = sql::plan(&session.state(), &parsed).await.map_err(failed)?;
    let collect = async |stream| first_rows(stream, limit).await;
    session.execute(&plan, collect).await.map_err(|error| match error {
        WriteError::Query(error) => match EngineError::of("the query", error) {
            EngineError::Failed { source: error, .. } => failed(*error),
            exhausted => exhausted,
        },
        disk @ WriteError::Disk(_) => disk.of("the query", &session.limits().scratch),
    })
}

async fn first_rows(
    mut stream: SendableRecordBatchStream,
    limit: Option<usize>,
) -> std::result::Result<Rows, WriteError> {
    let columns = stream.schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut rows = Vec::new();
    while let Some(batch) = stream.next().await {
        let batch = json_rows(&batch?);
        rows.extend(batch.map_err(|error| WriteError::Query(error.into()))?);
        if limit.is_some_and(|limit| rows.len() >= limit) {
            break;
        }
    }
    rows.truncate(limit.unwrap_or(usize::MAX));
    Ok(Rows { columns, rows })
}

fn json_rows(
    batch: &RecordBatch,
) -> std::result::Result<Vec<Vec<Value>>, datafusion::arrow::error::ArrowError> {
    let mut buffer = Vec::new();
    let mut writer =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut buffer);
    writer.write(batch)?;
    writer.finish()?;
    drop(writer);
    let schema = batch.schema();
    let lines = buffer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let rows = lines.map(|line| {
        let object: serde_json::Map<String, Value> =
            serde_json::from_slice(line).unwrap_or_default();
        let value = |field: &Arc<Field>| object.get(field.name()).cloned().unwrap_or(Value::Null);
        schema.fields().iter().map(value).collect()
    });
    Ok(rows.collect())
}

/// Registers rows as `muster.<name>`.
pub fn register_rows(
    session: &Session,
    name: &str,
    columns: &[(&str, FieldKind)],
    rows: &[Value],
) -> Result<()> {
    let failed = |error| EngineError::of(format!("`{INTERNAL}.{name}`"), error);
    let fields = columns.iter().map(|(name, kind)| Field::new(*name, data_type(*kind), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut decoder = ReaderBuilder::new(Arc::clone(&schema))
        .with_coerce_primitive(true)
        .build_decoder()
        .map_err(|error| failed(error.into()))?;
    decoder.serialize(rows).map_err(|error| failed(error.into()))?;
    let batch = decoder.flush().map_err(|error| failed(error.into()))?;
    let table = MemTable::try_new(schema, vec![batch.into_iter().collect()]).map_err(failed)?;
    session.register(TableReference::partial(INTERNAL, name), Arc::new(table)).map_err(failed)
}

fn data_type(kind: FieldKind) -> DataType {
    match kind {
        FieldKind::Bool => DataType::Boolean,
        FieldKind::Integer => DataType::Int64,
        FieldKind::Number => DataType::Float64,
        FieldKind::Text | FieldKind::Nested => DataType::Utf8,
        FieldKind::Date => DataType::Date32,
        FieldKind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    }
}

/// Registers `muster.<name>` as the union of one selection from each file.
pub async fn register_union(
    session: &Session,
    name: &str,
    columns: &[(&str, FieldKind)],
    parts: &[(std::path::PathBuf, String)],
) -> Result<()> {
    if parts.is_empty() {
        return register_rows(session, name, columns, &[]);
    }
    let failed = |error| EngineError::of(format!("`{INTERNAL}.{name}`"), error);
    let mut selects = Vec::new();
    for (index, (path, select)) in parts.iter().enumerate() {
        let part = format!("part_{name}_{index}");
        let table = files::table(session, path, &[]).await?;
        session.register(part.as_str(), table).map_err(failed)?;
        selects.push(format!("{select} FROM {part}"));
    }
    let sql = selects.join(" UNION ALL ");
    let plan = session.plan(&sql).await.map_err(failed)?;
    let view = datafusion::datasource::ViewTable::new(plan, Some(sql));
    session.register(TableReference::partial(INTERNAL, name), Arc::new(view)).map_err(failed)
}

/// Columns of `muster.deliveries`.
pub const DELIVERIES: [(&str, FieldKind); 9] = [
    ("sync", FieldKind::Text),
    ("subject", FieldKind::Text),
    ("email", FieldKind::Text),
    ("trait", FieldKind::Text),
    ("standing", FieldKind::Text),
    ("reason", FieldKind::Text),
    ("refusals", FieldKind::Integer),
    ("refused_at", FieldKind::Timestamp),
    ("run", FieldKind::Text),
];

/// What every sync delivered, as rows of [`DELIVERIES`] plus `present` and `retry_at`.
pub async fn delivered_rows(
    session: &Session,
    syncs: &[(String, DeliveredFiles)],
    only: Option<&str>,
) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for (sync, files) in syncs {
        let merge = session.ordered()?;
        if delivered::register(&merge, files, &["record_key"]).await?.is_none() {
            continue;
        }
        let failed = |error| EngineError::of(format!("what `{sync}` delivered"), error);
        let filter =
            only.map_or(String::new(), |only| format!(" WHERE standing = {}", literal(only)));
        let sql = format!(
            "SELECT {} AS sync, subject, email, trait, standing, reason, refusals, \
             arrow_cast(refused_at, 'Timestamp(Microsecond, Some(\"UTC\"))') AS refused_at, \
             arrow_cast(retry_at, 'Timestamp(Microsecond, Some(\"UTC\"))') AS retry_at, present, run \
             FROM delivered{filter}",
            literal(sync)
        );
        let plan = merge.plan(&sql).await.map_err(failed)?;
        let mut stream = merge.stream(&plan).await.map_err(failed)?;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(failed)?;
            let schema = batch.schema();
            let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
            for row in json_rows(&batch).map_err(|error| failed(error.into()))? {
                all.push(Value::Object(names.iter().cloned().zip(row).collect()));
            }
        }
    }
    Ok(all)
}

/// How many records of a sync stand how: delivered, rejected, unsettled (withdrawn ones count as
/// none of these).
pub async fn standings(session: &Session, files: &DeliveredFiles) -> Result<[u64; 3]> {
    let merge = session.ordered()?;
    if delivered::register(&merge, files, &["record_key"]).await?.is_none() {
        return Ok([0; 3]);
    }
    let sql = "SELECT count(*) FILTER (WHERE present), count(*) FILTER (WHERE standing = 'rejected'), \
               count(*) FILTER (WHERE present IS NULL) FROM delivered";
    let counts = merge.counts("what was delivered", sql).await?;
    Ok([counts[0], counts[1], counts[2]])
}
