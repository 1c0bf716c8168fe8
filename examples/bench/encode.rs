//! Rows of changes to request bodies on one core: beside `arrow-json`, a `serde_json::Value` per row,
//! and Python.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, StructArray};
use datafusion::arrow::datatypes::{Field, Fields, Float64Type};
use datafusion::arrow::json::LineDelimitedWriter;
use musterroll::engine::{Block, read_blocks};
use musterroll::message::{Message, Part};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::changes::shape;
use crate::dispatch::{self, Outbox};
use crate::options::Stage;
use crate::table::{Row, Table, Unit};
use crate::worker::since;
use crate::{Outcome, python};

/// Messages encoded at once.
const MOST: usize = 500_000;
const BUFFER: usize = 64 << 10;

pub fn measure(stage: &Stage, table: &mut Table) -> Outcome {
    let outbox = dispatch::outbox(stage)?;
    let Outbox { all, .. } = &outbox;
    let mut worker = stage.worker(&["encode", all])?;
    let mut python = python::worker(stage, &[&outbox.lake])?;
    let mut row = Row::new("encode: flat identify, one core", Unit::PerSecond("messages"));
    for _ in 0..stage.repeats(false) {
        let mut sizes = Vec::new();
        for (name, ask) in
            [("Muster", "muster"), ("arrow-json", "arrow-json"), ("serde_json::Value", "value")]
        {
            let (usage, answer) = worker.ask(ask)?;
            row.saw(name, per_second(&answer), usage);
            sizes.push(answer["bytes"].as_u64());
        }
        if sizes[0] != sizes[2] {
            return Err(format!("the messages are not the same: {sizes:?} bytes").into());
        }
        if let Some(python) = &mut python {
            let (usage, answer) = python.ask(&format!("encode\t{all}\t{}", MOST / 5))?;
            row.saw("Python, json.dumps", per_second(&answer), usage);
        }
    }
    if let Some(count) = instructions(stage, all)? {
        row.note(format!("{count} instructions per message, counted by callgrind"));
    }
    table.add(row);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a rate to be read by people")]
fn per_second(answer: &Value) -> f64 {
    let rows = answer["rows"].as_u64().unwrap_or(0) as f64;
    rows / answer["seconds"].as_f64().unwrap_or(f64::INFINITY)
}

/// Instructions that one more message costs, where valgrind is installed and the build is optimised.
fn instructions(stage: &Stage, path: &str) -> Outcome<Option<u64>> {
    const FEW: u64 = 4000;
    const MANY: u64 = 8000;
    if stage.options.smoke || Command::new("valgrind").arg("--version").output().is_err() {
        return Ok(None);
    }
    let count = |messages: u64| -> Outcome<u64> {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(&stage.program)
            .args(["worker", "encode-once", path, &messages.to_string()])
            .output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        let collected = text.lines().find_map(|line| line.split_once("Collected :"));
        Ok(collected.ok_or("callgrind counted nothing")?.1.trim().parse()?)
    };
    Ok(Some((count(MANY)? - count(FEW)?) / (MANY - FEW)))
}

/// Answers `muster`, `arrow-json` and `value` by encoding all messages that way.
pub fn serve(words: &[&str]) -> Outcome {
    let [path] = words else { return Err("a file of changes is needed".into()) };
    let blocks = blocks(path, MOST)?;
    let columns = columns(Path::new(path), MOST)?;
    for line in std::io::stdin().lines() {
        let started = Instant::now();
        let (rows, bytes) = match line?.as_str() {
            "muster" => as_muster(&blocks)?,
            "arrow-json" => as_arrow_json(&columns)?,
            "value" => as_value(&columns)?,
            other => return Err(format!("nobody does `{other}`").into()),
        };
        let answer = json!({ "seconds": since(started), "rows": rows, "bytes": bytes });
        std::io::Write::write_all(&mut std::io::stdout(), format!("{answer}\n").as_bytes())?;
    }
    Ok(())
}

/// Reads a block and encodes so many of its messages; for counting instructions.
pub fn once(words: &[&str]) -> Outcome {
    let [path, messages] = words else { return Err("a file and a number are needed".into()) };
    let most: usize = messages.parse()?;
    let blocks = blocks(path, 1)?;
    let mut buffer = BytesMut::new();
    for row in 0..most.min(blocks[0].len()) {
        encode(&blocks[0], row, &mut buffer)?;
    }
    Ok(())
}

fn blocks(path: &str, most: usize) -> Outcome<Vec<Arc<Block>>> {
    let mut blocks = Vec::new();
    let mut rows = 0;
    let found = read_blocks(Path::new(path), &shape("all", &["score"]));
    for block in found.map_err(|error| error.to_string())? {
        let block = block.map_err(|error| error.to_string())?;
        rows += block.len();
        blocks.push(Arc::new(block));
        if rows >= most {
            break;
        }
    }
    Ok(blocks)
}

fn as_muster(blocks: &[Arc<Block>]) -> Outcome<(usize, usize)> {
    let (mut rows, mut bytes) = (0, 0);
    let mut buffer = BytesMut::new();
    for block in blocks {
        for row in 0..block.len() {
            bytes += encode(block, row, &mut buffer)?;
        }
        rows += block.len();
    }
    Ok((rows, bytes))
}

/// As a batch in the making does it: bytes of its own for every message, in buffers that they share.
fn encode(block: &Arc<Block>, row: usize, buffer: &mut BytesMut) -> Outcome<usize> {
    if buffer.capacity() < BUFFER / 64 {
        buffer.reserve(BUFFER);
    }
    Message::new(Part::new(Arc::clone(block), u32::try_from(row)?)).write(buffer)?;
    Ok(std::hint::black_box(buffer.split().freeze()).len())
}

/// The columns of the same messages.
struct Columns {
    ids: StringArray,
    users: StringArray,
    emails: StringArray,
    scores: ArrayRef,
}

fn columns(path: &Path, most: usize) -> Outcome<Vec<Columns>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path)?)?
        .with_batch_size(8192)
        .build()?;
    let mut all = Vec::new();
    for batch in reader.take(most.div_ceil(8192)) {
        let batch = batch?;
        let column = |name: &str| batch.column_by_name(name).cloned().ok_or("no such column");
        let ids = column("message_id")?;
        let ids = ids.as_fixed_size_binary();
        let hex =
            |id: &[u8]| format!("{:032x}", u128::from_be_bytes(id.try_into().unwrap_or([0; 16])));
        all.push(Columns {
            ids: (0..ids.len()).map(|row| Some(hex(ids.value(row)))).collect(),
            users: column("subject")?.as_string::<i32>().clone(),
            emails: column("email")?.as_string::<i32>().clone(),
            scores: column("value.score")?,
        });
    }
    Ok(all)
}

fn as_value(columns: &[Columns]) -> Outcome<(usize, usize)> {
    let (mut rows, mut bytes) = (0, 0);
    for Columns { ids, users, emails, scores } in columns {
        let scores = scores.as_primitive::<Float64Type>();
        for row in 0..ids.len() {
            let message = json!({
                "type": "identify", "messageId": ids.value(row),
                "timestamp": "2026-11-20T09:00:00Z", "userId": users.value(row),
                "traits": { "score": scores.value(row), "email": emails.value(row) },
                "context": { "personas":
                    { "computation_class": "trait", "computation_key": "score" } },
            });
            bytes += std::hint::black_box(serde_json::to_vec(&message)?).len();
        }
        rows += ids.len();
    }
    Ok((rows, bytes))
}

/// Whole columns at once, into one buffer: what is made of it are lines, not messages.
fn as_arrow_json(columns: &[Columns]) -> Outcome<(usize, usize)> {
    let (mut rows, mut bytes) = (0, 0);
    for columns in columns {
        let batch = columns.batch()?;
        let mut buffer = Vec::with_capacity(batch.num_rows() * 300);
        let mut writer = LineDelimitedWriter::new(&mut buffer);
        writer.write(&batch)?;
        writer.finish()?;
        drop(writer);
        rows += batch.num_rows();
        bytes += std::hint::black_box(buffer).len() - batch.num_rows();
    }
    Ok((rows, bytes))
}

impl Columns {
    fn batch(&self) -> Outcome<RecordBatch> {
        let same = |text: &'static str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, self.ids.len())))
        };
        let personas =
            nested([("computation_class", same("trait")), ("computation_key", same("score"))]);
        let traits =
            nested([("score", Arc::clone(&self.scores)), ("email", Arc::new(self.emails.clone()))]);
        Ok(RecordBatch::try_from_iter([
            ("type", same("identify")),
            ("messageId", Arc::new(self.ids.clone()) as ArrayRef),
            ("timestamp", same("2026-11-20T09:00:00Z")),
            ("userId", Arc::new(self.users.clone())),
            ("traits", traits),
            ("context", nested([("personas", personas)])),
        ])?)
    }
}

fn nested<const N: usize>(columns: [(&str, ArrayRef); N]) -> ArrayRef {
    let fields: Fields = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
        .collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    Arc::new(StructArray::new(fields, arrays, None))
}
