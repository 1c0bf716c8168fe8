//! What differs between two sorted files of records, one in a hundred of them changed: beside reading
//! both files, which cannot be avoided, and beside `DuckDB`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::prelude::col;
use futures::StreamExt as _;
use musterroll::engine::{self, Session, Wanted};
use musterroll::state::{Store, SyncState};
use serde_json::{Value, json};

use crate::changes::{Opened, compare, records};
use crate::data::Lake;
use crate::options::Stage;
use crate::project::Project;
use crate::table::{Row, Table, Unit};
use crate::worker::{answering, since};
use crate::{Outcome, python};

const KEY: &str = "spend";
const SQL: &str = "SELECT user_id, round(sum(amount), 2) AS revenue, count(*) AS orders_count \
                   FROM orders GROUP BY user_id";

pub fn measure(stage: &Stage, table: &mut Table) -> Outcome {
    let lake = Lake::of(stage, stage.options.users, stage.options.orders)?;
    let mut project = Project::over(stage, "difference", &lake)?;
    project.sink("http://127.0.0.1:9/", "")?;
    project.computed_trait(KEY, SQL)?;
    stage.muster_ends(&["reset", "spend.sink", "--baseline"], Some(&project.folder))?;
    lake.churn()?;
    let folder = project.folder.display().to_string();
    let mut muster = stage.worker(&["difference", &folder])?;
    let prepared = muster.ask("prepare")?.1;
    lake.settle()?;
    let text = |name: &str| prepared[name].as_str().unwrap_or_default().to_owned();
    let ask = format!(
        "difference\t{}\t{}\tvalue.revenue\tvalue.orders_count",
        text("desired"),
        text("delivered")
    );
    let mut duckdb = python::worker(stage, &[&lake.folder.display().to_string()])?;
    let mut row = Row::new("difference: merge of two sorted files", Unit::Seconds);
    let mut counts = Vec::new();
    for _ in 0..stage.repeats(false) {
        // In a process of its own each time, so that its memory is that of one merge and nothing else.
        let mut merging = stage.worker(&["difference", &folder])?;
        merging.ask("resume")?;
        let (usage, answer) = merging.ask("merge")?;
        row.took("Muster", usage);
        counts.push(answer["rows"].as_u64());
        row.took("reading both", muster.ask("read")?.0);
        if let Some(duckdb) = &mut duckdb {
            let (usage, answer) = duckdb.ask(&ask)?;
            row.took("DuckDB, full join", usage);
            counts.push(answer["rows"].as_u64());
        }
    }
    row.note(format!(
        "{} records on each side, {} differ",
        prepared["records"],
        counts[0].unwrap_or_default()
    ));
    if counts.iter().any(|count| *count != counts[0] || count.unwrap_or(0) == 0) {
        return Err(format!("the differences are not the same: {counts:?}").into());
    }
    table.add(row);
    let mut row = Row::new("difference: sorting the records, comparing, labelling", Unit::Seconds);
    for _ in 0..stage.repeats(true) {
        row.took("Muster", muster.ask("compare")?.0);
    }
    table.add(row);
    Ok(())
}

/// Answers `prepare` once, then `merge`, `read` and `compare`; `resume` is `prepare` in a second
/// process, over the files of the first.
pub async fn serve(words: &[&str]) -> Outcome {
    let [folder] = words else { return Err("a project is needed".into()) };
    let folder = Path::new(folder);
    let kept = folder.join("desired.parquet");
    let opened = Opened::new(folder)?;
    let lake = opened.lake().await?;
    let merge = lake.session().ordered()?;
    let files = SyncState::open(&Store::new(&opened.project.state), "spend.sink")?.files();
    let delivered = newest(&opened.project.state.join("syncs/spend.sink"))?;
    let mut differing = std::fs::read_to_string(folder.join("differing.sql")).unwrap_or_default();
    answering(async |words| match words {
        ["prepare"] => {
            engine::compute(&lake, &Wanted::default(), |_| ()).await?;
            lake.compute(KEY).await?;
            let records = records(&lake, KEY)?;
            let compared = compare(&lake, &records, &files).await?;
            let sql = Statements::of(&compared.sql)?;
            let plan = lake.session().plan_sorted(&sql.desired).await?;
            let rows = lake.session().in_order().write_plan("the records", &plan, &kept).await?;
            differing = sql.differing;
            std::fs::write(folder.join("differing.sql"), &differing)?;
            register(&merge, "desired", &kept).await?;
            register(&merge, "delivered", &delivered).await?;
            Ok(json!({ "desired": kept, "delivered": delivered, "records": rows }))
        }
        ["resume"] => {
            register(&merge, "desired", &kept).await?;
            register(&merge, "delivered", &delivered).await?;
            Ok(json!({}))
        }
        ["merge"] => count(&merge, &[&differing]).await,
        ["read"] => count(&merge, &["SELECT * FROM desired", "SELECT * FROM delivered"]).await,
        ["compare"] => {
            let started = Instant::now();
            let compared = compare(&lake, &records(&lake, KEY)?, &files).await?;
            Ok(json!({ "seconds": since(started), "rows": compared.changes.rows }))
        }
        other => Err(format!("nobody does {other:?}").into()),
    })
    .await
}

/// The queries that a comparison says it ran.
struct Statements {
    desired: String,
    differing: String,
}

impl Statements {
    fn of(sql: &str) -> Outcome<Self> {
        let part = |name: &str| {
            let (_, rest) = sql.split_once(&format!("-- {name}\n"))?;
            Some(rest.split(";\n").next()?.to_owned())
        };
        let missing = "the comparison does not say what it ran";
        Ok(Self {
            desired: part("desired").ok_or(missing)?,
            differing: part("differing").ok_or(missing)?,
        })
    }
}

/// The file that holds what was delivered: the largest there is.
fn newest(folder: &Path) -> Outcome<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|ending| ending == "parquet") {
            files.push((entry.metadata()?.len(), entry.path()));
        }
    }
    Ok(files.into_iter().max().ok_or("nothing was delivered")?.1)
}

async fn count(session: &Session, queries: &[&str]) -> Outcome<Value> {
    let started = Instant::now();
    let mut rows = 0;
    for sql in queries {
        let mut stream = session.stream(&session.plan(sql).await?).await?;
        while let Some(batch) = stream.next().await {
            rows += batch?.num_rows();
        }
    }
    Ok(json!({ "seconds": since(started), "rows": rows }))
}

/// A file as a table that is sorted as Muster's own are.
async fn register(session: &Session, name: &str, path: &Path) -> Outcome {
    let url = ListingTableUrl::parse(path.display().to_string())?;
    let orders = ["record_key", "subject"].map(|order| vec![col(order).sort(true, true)]);
    let options = ListingOptions::new(Arc::new(ParquetFormat::default()))
        .with_file_extension("")
        .with_file_sort_order(orders.to_vec());
    let config = ListingTableConfig::new(url).with_listing_options(options);
    let table = ListingTable::try_new(config.infer_schema(&session.state()).await?)?;
    session.register(name, Arc::new(table))?;
    Ok(())
}
