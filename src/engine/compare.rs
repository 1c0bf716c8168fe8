//! One sync from desired records to changes: computes what is wanted, compares it with what was
//! delivered, and writes what differs.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::arrow::array::{ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::DataFusionError;
use datafusion::datasource::ViewTable;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};

use super::changes::{Changes, Labelling, write_changes};
use super::delivered::{self, DeliveredFiles};
use super::difference::{Difference, Fading, Reading};
use super::differing::Differing;
use super::error::{EngineError, Result};
use super::files;
use super::invalid::{self, Invalid};
use super::lake::Lake;
use super::records::{Records, normaliser, objector};
use super::session::Session;
use crate::destinations::Grain;

/// One sync to compare.
#[derive(Debug, Clone)]
pub struct Comparison<'a> {
    pub records: &'a Records,
    pub delivered: &'a DeliveredFiles,
    pub reading: Reading,
    pub run: &'a str,
    /// See [`Labelling::origin`].
    pub origin: &'a str,
    pub now: DateTime<Utc>,
    pub retry_rejected: bool,
    pub fading: Option<Fading>,
}

/// How many values of one match field there are, or cannot be used and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usability {
    pub source: String,
    /// `None`: they can be used.
    pub objection: Option<String>,
    pub values: u64,
}

/// What a comparison found.
#[derive(Debug, Clone)]
pub struct Compared {
    pub changes: Changes,
    /// Records the SQL asks for, invalid ones left out.
    pub desired: u64,
    pub invalid: Invalid,
    pub suppressed: u64,
    /// Shared identifiers whose owners disagree.
    pub conflicts: u64,
    /// Of the fields that members are matched by.
    pub usability: Vec<Usability>,
    /// Records the destination has, or may have, before this run.
    pub before: u64,
    /// The SQL of the desired records and of the difference.
    pub sql: String,
}

/// Compares one sync; the changes are written to the scratch folder, not sealed.
pub async fn compare(lake: &Lake<'_>, comparison: &Comparison<'_>) -> Result<Compared> {
    let records = comparison.records;
    let session = lake.session();
    register_normalisers(session, records);
    let what = format!("the records of `{}`", records.sync);
    let merge = session.ordered()?;
    let schema = delivered::register(&merge, comparison.delivered, &records.orders()).await?;
    let difference = Difference {
        records,
        reading: comparison.reading,
        delivered: schema.as_deref(),
        doubtful: comparison.delivered.uneven,
        fading: comparison.fading.as_ref(),
    };
    let found = match difference.at_once() {
        Some(sql) => at_once(lake, comparison, &sql, &what).await?,
        None => merged(lake, comparison, &difference, &merge, &what).await?,
    };
    let beside = [records.suppressed_sql(), records.conflicts_sql()];
    let [suppressed, conflicts] = counts(lake, &what, beside).await?;
    let usability = usability(session, records, &what).await?;
    Ok(Compared {
        changes: found.changes,
        desired: found.rows - found.invalid.desired,
        invalid: found.invalid,
        suppressed,
        conflicts,
        usability,
        before: found.before,
        sql: told(&difference),
    })
}

/// What came of the records themselves.
struct Found {
    changes: Changes,
    /// Desired records, invalid ones among them.
    rows: u64,
    invalid: Invalid,
    before: u64,
}

/// Everybody enters, straight from the query.
async fn at_once(
    lake: &Lake<'_>,
    comparison: &Comparison<'_>,
    sql: &str,
    what: &str,
) -> Result<Found> {
    let failed = |error| EngineError::of(what, error);
    let session = sorted_view(lake, comparison.records).await.map_err(failed)?;
    let changes = label(&session, sql, comparison, what).await?;
    let invalid = invalid::list(lake, comparison.records, None, what).await?;
    Ok(Found { rows: changes.seen, changes, invalid, before: 0 })
}

/// A session whose table `desired` is the query.
async fn sorted_view(lake: &Lake<'_>, records: &Records) -> datafusion::error::Result<Session> {
    let session = lake.session().in_order();
    let desired = lake.session().plan_sorted(&records.desired_sql()).await?;
    session.register("desired", Arc::new(ViewTable::new(desired, None)))?;
    Ok(session)
}

/// Desired records, sorted into a file, against those that were delivered.
async fn merged(
    lake: &Lake<'_>,
    comparison: &Comparison<'_>,
    difference: &Difference<'_>,
    merge: &Session,
    what: &str,
) -> Result<Found> {
    let records = comparison.records;
    let orders = records.orders();
    let session = lake.session();
    let desired_path = session.scratch(&format!("{}.desired.parquet", records.sync));
    let failed = |error| EngineError::of(what, error);
    let plan = session.plan_sorted(&records.desired_sql()).await.map_err(failed)?;
    let rows = session.in_order().write_plan(what, &plan, &desired_path).await?;
    let invalid = invalid::list(lake, records, Some(&desired_path), what).await?;
    let desired = files::table(merge, &desired_path, &orders).await?;
    merge.register("desired", desired).map_err(failed)?;
    let differing = match difference.differing() {
        Some(sql) => Some(Differing::write(merge, what, &sql, &records.sync).await?),
        None => None,
    };
    if let Some(differing) = &differing {
        differing.register(merge, &orders).await?;
        if let Some(sql) = difference.held() {
            held(lake, &sql, (&desired_path, differing), merge).await?;
        }
    }
    // Without a difference whatever is wanted is there, and nothing needs a label.
    let (mut before, mut changes) = (rows - invalid.desired, Changes::default());
    if differing.as_ref().is_none_or(|differing| differing.rows() > 0) {
        before = count_before(merge, what, differing.is_some()).await?;
        changes = label(merge, &difference.labels(), comparison, what).await?;
    }
    drop(std::fs::remove_file(&desired_path));
    Ok(Found { changes, rows, invalid, before })
}

/// The queries, for people.
fn told(difference: &Difference<'_>) -> String {
    let desired = difference.records.desired_sql();
    let differing = difference.differing();
    let differing = differing.as_deref().unwrap_or("SELECT * FROM desired");
    let labels = difference.at_once().unwrap_or_else(|| difference.labels());
    format!("-- desired\n{desired};\n\n-- differing\n{differing};\n\n-- labels\n{labels};\n")
}

/// What members who leave have in common with members who stay, as the table `held`.
async fn held(
    lake: &Lake<'_>,
    sql: &str,
    (desired, differing): (&Path, &Differing),
    merge: &Session,
) -> Result<()> {
    let what = "what other members still have";
    let failed = |error| EngineError::of(what, error);
    let session = lake.session().beside();
    let table = files::table(&session, desired, &[]).await?;
    session.register("desired", table).map_err(failed)?;
    differing.register_leaving(&session).await?;
    let path = session.scratch("held.parquet");
    session.write(what, sql, &path).await?;
    let table = files::table(merge, &path, &[]).await?;
    merge.register("held", table).map_err(failed)
}

async fn usability(session: &Session, records: &Records, what: &str) -> Result<Vec<Usability>> {
    let Some(sql) = records.unusable_sql() else { return Ok(Vec::new()) };
    let rows = session.texts(what, &sql).await?;
    let usability = rows.into_iter().map(|[source, objection, values]| Usability {
        source: source.unwrap_or_default(),
        objection,
        values: values.and_then(|values| values.parse().ok()).unwrap_or(0),
    });
    Ok(usability.collect())
}

/// Records the destination has, or may have.
async fn count_before(merge: &Session, what: &str, known: bool) -> Result<u64> {
    if !known {
        return Ok(0);
    }
    let sql = "SELECT count(*) FROM delivered WHERE present IS DISTINCT FROM FALSE";
    Ok(merge.counts(what, sql).await?[0])
}

/// What became of every record that differs, into a file of changes.
async fn label(
    session: &Session,
    labels: &str,
    comparison: &Comparison<'_>,
    what: &str,
) -> Result<Changes> {
    let plan = session.plan(labels).await.map_err(|error| EngineError::of(what, error))?;
    let labelling = comparison.labelling();
    let path = session.scratch(&format!("{}.changes.parquet", comparison.records.sync));
    let write = async |stream| write_changes(&path, stream, &labelling).await;
    session.execute(&plan, write).await.map_err(|error| error.of(what, &path))
}

impl Comparison<'_> {
    fn labelling(&self) -> Labelling<'_> {
        Labelling {
            sync: &self.records.sync,
            run: self.run,
            origin: self.origin,
            now: self.now,
            retry_rejected: self.retry_rejected,
        }
    }
}

/// What each query counts; 0 where there is none.
async fn counts(lake: &Lake<'_>, what: &str, queries: [Option<String>; 2]) -> Result<[u64; 2]> {
    let mut counts = [0; 2];
    for (count, sql) in counts.iter_mut().zip(queries) {
        if let Some(sql) = sql {
            *count = lake.session().counts(what, &sql).await?[0];
        }
    }
    Ok(counts)
}

/// The physical plans of a sync's difference.
#[cfg(test)]
pub(super) async fn explain(
    session: &Session,
    records: &Records,
    desired: &Path,
    files: &DeliveredFiles,
) -> Result<[String; 2]> {
    let merge = session.ordered()?;
    let failed = |error| EngineError::of("the difference", error);
    let orders = records.orders();
    let table = files::table(&merge, desired, &orders).await?;
    merge.register("desired", table).map_err(failed)?;
    let schema = delivered::register(&merge, files, &orders).await?;
    let difference = Difference {
        records,
        reading: Reading::Normal,
        delivered: schema.as_deref(),
        doubtful: false,
        fading: None,
    };
    let sql = difference.differing().unwrap_or_default();
    let differing = Differing::write(&merge, "the difference", &sql, &records.sync).await?;
    differing.register(&merge, &orders).await?;
    let labels = merge.explain(&difference.labels()).await.map_err(failed)?;
    Ok([merge.explain(&sql).await.map_err(failed)?, labels])
}

/// The physical plan of a sync's first changes.
#[cfg(test)]
pub(super) async fn explain_first(lake: &Lake<'_>, records: &Records) -> Result<String> {
    let failed = |error| EngineError::of("the first changes", error);
    let difference = Difference {
        records,
        reading: Reading::Normal,
        delivered: None,
        doubtful: false,
        fading: None,
    };
    let session = sorted_view(lake, records).await.map_err(failed)?;
    session.explain(&difference.at_once().unwrap_or_default()).await.map_err(failed)
}

/// Makes the platform's own normalisation callable from SQL.
fn register_normalisers(session: &Session, records: &Records) {
    if records.grain != Grain::List {
        return;
    }
    for field in &records.match_fields {
        let normalise = field.normalise;
        let usable = move |text: &str, country: Option<&str>| normalise(text, country).ok();
        register(session, &normaliser(&records.sync, field.source), usable);
        let objection = move |text: &str, country: Option<&str>| {
            normalise(text, country).err().map(ToOwned::to_owned)
        };
        register(session, &objector(&records.sync, field.source), objection);
    }
}

/// A function of a value and a country.
fn register(
    session: &Session,
    name: &str,
    function: impl Fn(&str, Option<&str>) -> Option<String> + Send + Sync + 'static,
) {
    let function = move |arguments: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        let [value, country] = arrays.as_slice() else {
            return Err(DataFusionError::Internal("wants a value and a country".into()));
        };
        let [value, country] = [cast(value, &DataType::Utf8)?, cast(country, &DataType::Utf8)?];
        let pairs = value.as_string::<i32>().iter().zip(country.as_string::<i32>());
        let answers = pairs.map(|(value, country)| function(value?, country));
        let answers: ArrayRef = Arc::new(answers.collect::<StringArray>());
        Ok(ColumnarValue::Array(answers))
    };
    session.context().register_udf(create_udf(
        name.trim_matches('"'),
        vec![DataType::Utf8; 2],
        DataType::Utf8,
        Volatility::Immutable,
        Arc::new(function),
    ));
}
