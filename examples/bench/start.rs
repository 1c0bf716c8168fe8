//! How long it takes before anything happens.

use std::process::Command;

use crate::Outcome;
use crate::data::Lake;
use crate::options::Stage;
use crate::process::Ended;
use crate::project::Project;
use crate::table::{Row, Table, Unit};

pub fn measure(stage: &Stage, table: &mut Table) -> Outcome {
    let empty = Project::new(stage, "empty")?;
    let mut version = Row::new("start: --version", Unit::Seconds);
    let mut plan = Row::new("start: plan of an empty project", Unit::Seconds);
    for _ in 0..stage.repeats(false) {
        version.ended("Muster", &stage.muster_ends(&["--version"], None)?);
        plan.ended("Muster", &stage.muster_ends(&["plan"], Some(&empty.folder))?);
        let nothing = Ended::of(&mut Command::new("true"))?;
        for row in [&mut version, &mut plan] {
            row.ended("a process that does nothing", &nothing);
        }
        if let Some(python) = &stage.python {
            let mut import = Command::new(python);
            let imported = Ended::of(import.args(["-c", "import duckdb, pyarrow, aiohttp"]))?;
            plan.ended("Python, its imports", &imported);
        }
    }
    table.add(version);
    table.add(plan);
    check(stage, table)
}

fn check(stage: &Stage, table: &mut Table) -> Outcome {
    let models = stage.size(10, 300);
    let lake = Lake::of(stage, stage.size(100, 20_000), 100)?;
    let project = Project::over(stage, "models", &lake)?;
    for number in 0..models {
        let sql = format!(
            "SELECT user_id, sum(amount) AS spent_{number}, count(*) AS orders_{number} FROM orders \
             JOIN users USING (user_id) WHERE amount > {number} AND country <> 'AT' GROUP BY user_id"
        );
        project.computed_trait(&format!("model_{number}"), &sql)?;
    }
    let mut row = Row::new(format!("start: check of {models} models"), Unit::Seconds);
    for _ in 0..stage.repeats(false) {
        row.ended("Muster", &stage.muster_ends(&["check"], Some(&project.folder))?);
    }
    table.add(row);
    Ok(())
}
