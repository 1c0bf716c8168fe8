//! What syncs select from, computed once each: models in their order, and beside them, where there is
//! memory for both, the auxiliary queries.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::{DataFusionError, TableReference};
use datafusion::datasource::ViewTable;
use datafusion::logical_expr::LogicalPlan;

use super::columns::quoted;
use super::error::{EngineError, Result};
use super::files;
use super::lake::{IDENTIFIERS, INTERNAL, Lake, MEMBERS, PROFILES, SUPPRESSED};
use super::sql;
use super::writer::{Purpose, WriteError};
use crate::finding::Source;
use crate::project::Query;

/// What is to be computed for some syncs.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Keys of their models.
    pub models: BTreeSet<String>,
    /// Whether one of them tells people apart by identifiers other than emails.
    pub identifiers: bool,
}

/// A model, computed.
#[derive(Debug, Clone, Copy)]
pub struct Computed {
    pub rows: u64,
}

/// Computes the models, those they and the auxiliary queries select from, and the auxiliary queries;
/// `computing` hears of every model that is begun.
pub async fn compute(lake: &Lake<'_>, wanted: &Wanted, computing: impl Fn(&str)) -> Result<()> {
    let models = async {
        for model in lake.needed(&wanted.models) {
            computing(&model);
            lake.compute(&model).await?;
        }
        Ok(())
    };
    let all = [IDENTIFIERS, PROFILES, SUPPRESSED, MEMBERS].into_iter();
    let waits = |name: &&str| !lake.session().holds_two() || lake.needs_models(name);
    let (after, beside): (Vec<_>, Vec<_>) = all.partition(waits);
    // Whenever one of them waits for a few partitions or for its file, the other has the cores.
    tokio::try_join!(Box::pin(models), Box::pin(auxiliary(lake, &beside, wanted)))?;
    Box::pin(auxiliary(lake, &after, wanted)).await
}

async fn auxiliary(lake: &Lake<'_>, names: &[&str], wanted: &Wanted) -> Result<()> {
    for name in names {
        match *name {
            IDENTIFIERS => identifiers(lake, wanted.identifiers).await?,
            PROFILES => {
                lake.compute_auxiliary(PROFILES).await?;
                lake.refuse_double_profiles().await?;
            }
            name => lake.compute_auxiliary(name).await?,
        }
    }
    Ok(())
}

/// `muster.emails`: every user's distinct emails with the time each was first added. The identifiers
/// themselves are kept only where something else is made from them, too.
async fn identifiers(lake: &Lake<'_>, kept: bool) -> Result<()> {
    let Some((query, parsed)) = lake.auxiliary_query(IDENTIFIERS) else { return Ok(()) };
    let work = Work::auxiliary(IDENTIFIERS, query);
    let plan = lake.planned(&work, parsed).await?;
    let added = match plan.schema().has_column_with_unqualified_name("added_at") {
        true => "min(CAST(added_at AS TIMESTAMP))",
        false => "CAST(NULL AS TIMESTAMP)",
    };
    let name = TableReference::partial(INTERNAL, IDENTIFIERS);
    if kept {
        lake.materialise(&work, &plan, name).await?;
    } else {
        let view = Arc::new(ViewTable::new(plan, None));
        lake.session().register(name, view).map_err(|error| work.failed(error))?;
    }
    let key = quoted(&lake.project().users.key);
    let sql = format!(
        "SELECT CAST({key} AS VARCHAR) AS subject, trim(CAST(value AS VARCHAR)) AS email, {added} AS added_at \
         FROM {INTERNAL}.{IDENTIFIERS} WHERE lower(CAST(type AS VARCHAR)) = 'email' AND {key} IS NOT NULL \
         AND trim(CAST(value AS VARCHAR)) <> '' GROUP BY 1, 2"
    );
    let plan = lake.session().plan(&sql).await.map_err(|error| work.failed(error))?;
    lake.materialise(&work, &plan, TableReference::partial(INTERNAL, "emails")).await?;
    Ok(())
}

/// A query of the project while it is computed.
struct Work<'a> {
    what: String,
    source: &'a Source,
}

impl<'a> Work<'a> {
    fn auxiliary(name: &str, query: &'a Query) -> Self {
        Self { what: format!("`{name}`"), source: &query.source }
    }

    fn failed(&self, error: DataFusionError) -> EngineError {
        let what = &self.what;
        match EngineError::of(what, error) {
            EngineError::Failed { source: error, .. } => {
                sql::failure(self.source, &error).note(format!("while computing {what}")).into()
            }
            other => other,
        }
    }
}

impl Lake<'_> {
    /// Computes one model into the scratch folder and registers it under its name.
    pub async fn compute(&self, key: &str) -> Result<Computed> {
        let Some((model, parsed)) = self.model_query(key) else {
            return Ok(Computed { rows: 0 });
        };
        let what = format!("{} `{key}`", model.kind.as_str());
        let work = Work { what, source: &model.query.source };
        let plan = self.planned(&work, parsed).await?;
        let name = TableReference::partial(model.kind.schema(), key);
        let rows = self.materialise(&work, &plan, name).await?;
        self.refuse_bad_keys(model).await?;
        Ok(Computed { rows })
    }

    /// Computes an auxiliary query, if the project has it.
    async fn compute_auxiliary(&self, name: &str) -> Result<()> {
        let Some((query, parsed)) = self.auxiliary_query(name) else { return Ok(()) };
        let work = Work::auxiliary(name, query);
        let plan = self.planned(&work, parsed).await?;
        self.materialise(&work, &plan, TableReference::partial(INTERNAL, name)).await?;
        Ok(())
    }

    async fn planned(&self, work: &Work<'_>, parsed: &sql::Parsed) -> Result<LogicalPlan> {
        let state = self.session().state();
        sql::plan(&state, parsed).await.map_err(|error| work.failed(error))
    }

    /// Runs a plan into a file of the scratch folder and registers it; how many rows there are.
    async fn materialise(
        &self,
        work: &Work<'_>,
        plan: &LogicalPlan,
        name: TableReference,
    ) -> Result<u64> {
        let session = self.session();
        let path = session.scratch(&format!("{name}.parquet"));
        let write = async |stream| files::write_stream(&path, stream, Purpose::Scratch).await;
        let rows = session.execute(plan, write).await.map_err(|error| match error {
            WriteError::Query(error) => work.failed(error),
            WriteError::Disk(source) => EngineError::Write { path: path.clone(), source },
        })?;
        let table = files::table(session, &path, &[]).await?;
        session.register(name, table).map_err(|error| work.failed(error))?;
        Ok(rows)
    }
}
