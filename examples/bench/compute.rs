//! Models over the orders, beside `DuckDB`: the same SQL where both understand it, the result written as
//! Parquet by both.

use std::path::Path;
use std::time::Instant;

use serde_json::json;

use crate::changes::Opened;
use crate::data::Lake;
use crate::options::Stage;
use crate::project::Project;
use crate::table::{Row, Table, Unit};
use crate::worker::{answering, since};
use crate::{Outcome, python};

/// One model, and what a user of `DuckDB` would write.
struct Model {
    key: &'static str,
    about: &'static str,
    sql: &'static str,
    duckdb: Option<&'static str>,
}

const MODELS: [Model; 7] = [
    Model {
        key: "revenue",
        about: "sum of half a year's orders",
        sql: "SELECT user_id, round(sum(amount), 2) AS revenue FROM orders WHERE status = 'completed' \
              AND ordered_at >= TIMESTAMP '2026-05-01' GROUP BY user_id",
        duckdb: None,
    },
    Model {
        key: "summary",
        about: "count, latest and average",
        sql: "SELECT user_id, count(*) AS orders_count, max(ordered_at) AS last_order, \
              round(avg(amount), 2) AS average FROM orders GROUP BY user_id",
        duckdb: None,
    },
    Model {
        key: "categories",
        about: "distinct categories",
        sql: "SELECT user_id, count(DISTINCT category) AS categories FROM orders GROUP BY user_id",
        duckdb: None,
    },
    Model {
        key: "regulars",
        about: "audience by HAVING",
        sql: "SELECT user_id, count(*) AS bought FROM orders WHERE status = 'completed' \
              GROUP BY user_id HAVING count(*) >= 20",
        duckdb: None,
    },
    Model {
        key: "national",
        about: "join with users",
        sql: "SELECT user_id, max(country) AS country, round(sum(amount), 2) AS spent \
              FROM orders JOIN users USING (user_id) WHERE score >= 50 GROUP BY user_id",
        duckdb: None,
    },
    Model {
        key: "favourite",
        about: "favourite category, first_value",
        sql: "SELECT user_id, first_value(category ORDER BY bought DESC, category) AS favourite FROM \
              (SELECT user_id, category, count(*) AS bought FROM orders GROUP BY user_id, category) \
              GROUP BY user_id",
        duckdb: Some(
            "SELECT user_id, first(category ORDER BY bought DESC, category) AS favourite FROM \
             (SELECT user_id, category, count(*) AS bought FROM orders GROUP BY user_id, category) \
             GROUP BY user_id",
        ),
    },
    Model {
        key: "favourite_by_window",
        about: "favourite category, row_number",
        sql: "SELECT user_id, category AS favourite FROM (SELECT user_id, category, row_number() OVER \
              (PARTITION BY user_id ORDER BY bought DESC, category) AS place FROM (SELECT user_id, \
              category, count(*) AS bought FROM orders GROUP BY user_id, category)) WHERE place = 1",
        duckdb: None,
    },
];

pub fn measure(stage: &Stage, table: &mut Table) -> Outcome {
    let lake = Lake::of(stage, stage.options.users, stage.options.orders)?;
    let project = Project::over(stage, "compute", &lake)?;
    for model in &MODELS {
        project.computed_trait(model.key, model.sql)?;
    }
    let folder = project.folder.display().to_string();
    let lake_folder = lake.folder.display().to_string();
    let mut muster = stage.worker(&["compute", &folder])?;
    let mut duckdb = python::worker(stage, &[&lake_folder])?;
    for model in &MODELS {
        let mut row = Row::new(format!("compute: {}", model.about), Unit::Seconds);
        for _ in 0..stage.repeats(false) {
            row.took("Muster", muster.ask(model.key)?.0);
            if let Some(duckdb) = &mut duckdb {
                let into = project.folder.join("duckdb.parquet");
                let sql = model.duckdb.unwrap_or(model.sql);
                let ask = format!("model\t{}\t{sql}", into.display());
                row.took("DuckDB", duckdb.ask(&ask)?.0);
            }
        }
        table.add(row);
    }
    Ok(())
}

/// Answers `KEY` by computing that model into a file.
pub async fn serve(words: &[&str]) -> Outcome {
    let [folder] = words else { return Err("a project is needed".into()) };
    let opened = Opened::new(Path::new(folder))?;
    let lake = opened.lake().await?;
    answering(async |words| {
        let [key] = words else { return Err("a model is needed".into()) };
        let started = Instant::now();
        let computed = lake.compute(key).await?;
        Ok(json!({ "seconds": since(started), "rows": computed.rows }))
    })
    .await
}
