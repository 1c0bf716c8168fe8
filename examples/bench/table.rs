//! What was found: rows of contenders, as a table or as JSON.

use std::fmt;

use serde_json::{Value, json};

use crate::Outcome;
use crate::options::Stage;
use crate::process::{Ended, Usage};

/// Everything that was measured.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

/// One kind of work, done by several.
#[derive(Debug)]
pub struct Row {
    work: String,
    unit: Unit,
    contenders: Vec<Contender>,
    /// What else was seen.
    notes: Vec<String>,
}

/// What is counted; of times less is better, of everything else more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    /// So many of something per second.
    PerSecond(&'static str),
    Percent(&'static str),
    Count(&'static str),
}

/// One way of doing it, as often as it was done.
#[derive(Debug)]
pub struct Contender {
    name: String,
    values: Vec<f64>,
    processor: Vec<f64>,
    peak: Option<u64>,
}

impl Table {
    pub fn add(&mut self, row: Row) {
        crate::say(row.to_string().trim_end());
        self.rows.push(row);
    }

    /// The table, the machine and the sizes as one document.
    pub fn json(&self, stage: &Stage) -> Outcome<String> {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        let options = &stage.options;
        let document = json!({
            "users": options.users, "orders": options.orders, "machine": machine(), "rows": rows,
        });
        Ok(serde_json::to_string_pretty(&document)? + "\n")
    }
}

impl Row {
    pub fn new(work: impl Into<String>, unit: Unit) -> Self {
        Self { work: work.into(), unit, contenders: Vec::new(), notes: Vec::new() }
    }

    fn of(&mut self, name: &str) -> &mut Contender {
        let found = self.contenders.iter().position(|contender| contender.name == name);
        let index = found.unwrap_or_else(|| {
            self.contenders.push(Contender {
                name: name.to_owned(),
                values: Vec::new(),
                processor: Vec::new(),
                peak: None,
            });
            self.contenders.len() - 1
        });
        &mut self.contenders[index]
    }

    /// One more measurement of `name`; the contender that comes first is the one compared.
    pub fn saw(&mut self, name: &str, value: f64, usage: Usage) {
        let contender = self.of(name);
        contender.values.push(value);
        contender.processor.extend(usage.processor);
        contender.peak = contender.peak.max(usage.peak);
    }

    /// The same, of work that is measured by its time.
    pub fn took(&mut self, name: &str, usage: Usage) {
        self.saw(name, usage.seconds, usage);
    }

    pub fn ended(&mut self, name: &str, ended: &Ended) {
        self.took(name, ended.usage);
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    fn json(&self) -> Value {
        let first = self.contenders.first().and_then(Contender::median);
        let contenders = self.contenders.iter().map(|contender| {
            json!({
                "name": contender.name,
                "median": contender.median(),
                "values": contender.values,
                "ratio": ratio(first, contender.median()),
                "peak_bytes": contender.peak,
                "processor_seconds": median(&contender.processor),
            })
        });
        json!({
            "work": self.work,
            "unit": self.unit.to_string(),
            "contenders": contenders.collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

impl Contender {
    fn median(&self) -> Option<f64> {
        median(&self.values)
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// The first contender's value over this one's.
fn ratio(first: Option<f64>, this: Option<f64>) -> Option<f64> {
    first.zip(this).filter(|(_, this)| *this > 0.0).map(|(first, this)| first / this)
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds => f.write_str("s"),
            Self::PerSecond(what) => write!(f, "{what}/s"),
            Self::Percent(of) => write!(f, "% of {of}"),
            Self::Count(what) => f.write_str(what),
        }
    }
}

const COLUMNS: &str = "| work | who | median | unit | Muster ÷ this | peak MB | CPU s |\n|---|---|--:|---|--:|--:|--:|\n";

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}\n\n{COLUMNS}{}",
            machine(),
            self.rows.iter().map(Row::to_string).collect::<String>()
        )?;
        for row in &self.rows {
            for note in &row.notes {
                writeln!(f, "- {}: {note}", row.work)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.contenders.first().and_then(Contender::median);
        for (position, contender) in self.contenders.iter().enumerate() {
            let work = if position == 0 { &*self.work } else { "" };
            let value =
                contender.median().map(|value| digits(value, self.unit)).unwrap_or_default();
            let ratio = ratio(first, contender.median()).filter(|_| position > 0);
            let ratio = ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
            #[expect(clippy::cast_precision_loss, reason = "a size to be read by people")]
            let peak = contender.peak.map(|peak| format!("{:.0}", peak as f64 / 1e6));
            let processor = median(&contender.processor).map(|seconds| format!("{seconds:.2}"));
            let (peak, processor) = (peak.unwrap_or_default(), processor.unwrap_or_default());
            let (name, unit) = (&contender.name, self.unit);
            writeln!(f, "| {work} | {name} | {value} | {unit} | {ratio} | {peak} | {processor} |")?;
        }
        Ok(())
    }
}

fn digits(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Seconds => format!("{value:.3}"),
        Unit::Percent(_) => format!("{value:.1}"),
        Unit::PerSecond(_) | Unit::Count(_) => format!("{value:.0}"),
    }
}

/// The processor and how many of it there are.
fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} × {model}, Muster {}", env!("CARGO_PKG_VERSION"))
}
