//! Five traits of one user are one call: what that saves.

use crate::Outcome;
use crate::data::Lake;
use crate::options::Stage;
use crate::project::Project;
use crate::sink::Sink;
use crate::table::{Row, Table, Unit};

const TRAITS: usize = 5;

pub fn measure(stage: &Stage, table: &mut Table) -> Outcome {
    let users = stage.size(100, 20_000);
    let lake = Lake::of(stage, users, 100)?;
    let mut row =
        Row::new(format!("coalescing: {TRAITS} traits of {users} users"), Unit::Count("calls"));
    for (name, options, expected) in
        [("Muster", "", users), ("coalesce = false", "coalesce = false\n", users * TRAITS as u64)]
    {
        let sink = Sink::start()?;
        let mut project = Project::new(stage, "coalescing")?;
        project.table("users", &lake.path("users.parquet"))?;
        project.sink(&sink.url(), &format!("concurrency = 64\n{options}"))?;
        for number in 1..=TRAITS {
            let sql = format!("SELECT user_id, score * {number} AS score_{number} FROM users");
            project.computed_trait(&format!("score_{number}"), &sql)?;
        }
        let ended = stage.muster_ends(&["run"], Some(&project.folder))?;
        if sink.requests() != expected {
            return Err(format!("{} calls instead of {expected}", sink.requests()).into());
        }
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        row.saw(name, sink.requests() as f64, ended.usage);
    }
    table.add(row);
    Ok(())
}
