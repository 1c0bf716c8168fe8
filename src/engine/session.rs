//! One DataFusion session per command: bounded memory with spilling, clock functions pinned to the
//! run's time, and a second, ordered session for merges of sorted files.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::common::DataFusionError;
use datafusion::common::TableReference;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream};
use datafusion::physical_planner::DefaultPhysicalPlanner;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::error::{EngineError, Result};

/// How many of the largest consumers an out-of-memory message names.
const NAMED_CONSUMERS: usize = 3;

/// What a session may use and what time it is.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes held before spilling.
    pub memory: u64,
    /// Spill files and intermediate tables; must exist.
    pub scratch: PathBuf,
    /// What `now()` and its friends say.
    pub as_of: DateTime<Utc>,
}

/// How a query is allowed to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joins {
    /// Hash joins where DataFusion likes them: fast, but they do not spill.
    Hash,
    /// Only sort-merge joins: slower, but they spill.
    Merge,
}

/// A session whose tables are registered by name.
#[derive(Clone)]
pub struct Session {
    context: SessionContext,
    limits: Limits,
    order: Order,
}

/// What becomes of the order of sorted files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Whatever is fastest.
    Free,
    /// One partition, merge joins.
    Kept,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Session {
    /// A session for models: parallel, every join allowed.
    pub fn new(limits: Limits) -> Result<Self> {
        let runtime = runtime(&limits).map_err(|source| EngineError::of("the session", source))?;
        let mut config = config(partitions());
        config.options_mut().sql_parser.collect_spans = true;
        config.options_mut().catalog.default_catalog = "project".into();
        let context = SessionContext::new_with_config_rt(config, runtime);
        Ok(Self { context, limits, order: Order::Free })
    }

    /// A session for merges of sorted files: one partition, no hash joins, same memory and time.
    #[must_use]
    pub fn ordered(&self) -> Self {
        let mut config = config(1);
        let optimizer = &mut config.options_mut().optimizer;
        optimizer.prefer_hash_join = false;
        optimizer.repartition_file_scans = false;
        optimizer.enable_dynamic_filter_pushdown = false;
        let context = SessionContext::new_with_config_rt(config, self.context.runtime_env());
        Self { context, limits: self.limits.clone(), order: Order::Kept }
    }

    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The session's state with its clock pinned to the run's time.
    pub fn state(&self) -> SessionState {
        let mut state = self.context.state();
        state.execution_props_mut().query_execution_start_time = Some(self.limits.as_of);
        state
    }

    /// Plans Muster's own SQL.
    pub async fn plan(&self, sql: &str) -> datafusion::error::Result<LogicalPlan> {
        self.state().create_logical_plan(sql).await
    }

    /// The physical plan, as text.
    #[cfg(test)]
    pub async fn explain(&self, sql: &str) -> datafusion::error::Result<String> {
        let plan = self.physical(self.state(), &self.plan(sql).await?).await?;
        Ok(datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string())
    }

    pub async fn execute(
        &self,
        plan: &LogicalPlan,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        self.start(plan, Joins::Hash).await
    }

    /// Like `execute`, with joins that spill: what to do after memory ran out.
    pub async fn execute_spilling(
        &self,
        plan: &LogicalPlan,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        self.start(plan, Joins::Merge).await
    }

    async fn start(
        &self,
        plan: &LogicalPlan,
        joins: Joins,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let mut state = self.state();
        if joins == Joins::Merge {
            *state.config_mut() = state.config().clone().with_batch_size(1024);
            let options = state.config_mut().options_mut();
            options.optimizer.prefer_hash_join = false;
            // Fewer sorts side by side and smaller batches, so that merging spilled runs fits too.
            options.execution.target_partitions = 2;
            options.execution.sort_spill_reservation_bytes = 4 << 20;
        }
        let context = state.task_ctx();
        execute_stream(self.physical(state, plan).await?, context)
    }

    async fn physical(
        &self,
        state: SessionState,
        plan: &LogicalPlan,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        if self.order == Order::Free {
            return state.create_physical_plan(plan).await;
        }
        // DataFusion chooses merge joins only where there are several partitions, and then partitions
        // and sorts what is already sorted: so the joins are chosen for two, the rest for one.
        let mut joins = SessionStateBuilder::new_from_existing(state.clone())
            .with_physical_optimizer_rules(Vec::new())
            .build();
        let options = joins.config_mut().options_mut();
        options.execution.target_partitions = 2;
        options.optimizer.repartition_joins = true;
        let plan = joins.create_physical_plan(plan).await?;
        DefaultPhysicalPlanner::default().optimize_physical_plan(plan, &state, |_, _| {})
    }

    pub fn register(
        &self,
        name: impl Into<TableReference>,
        table: Arc<dyn datafusion::catalog::TableProvider>,
    ) -> datafusion::error::Result<()> {
        let name = name.into();
        self.context.deregister_table(name.clone())?;
        self.context.register_table(name, table)?;
        Ok(())
    }

    /// A path in the scratch folder.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.limits.scratch.join(name)
    }
}

/// Whether trying again with joins that spill can help.
pub fn ran_out_of_memory(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

fn config(partitions: usize) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(partitions)
        .with_information_schema(false)
        .with_collect_statistics(true);
    let options = config.options_mut();
    options.execution.parquet.pushdown_filters = false;
    options.execution.listing_table_ignore_subdirectory = false;
    config
}

/// More partitions than cores keeps both cores busy while one waits for the disk.
fn partitions() -> usize {
    std::thread::available_parallelism().map_or(4, |cores| cores.get().max(2) * 2)
}

fn runtime(limits: &Limits) -> datafusion::error::Result<Arc<RuntimeEnv>> {
    let bytes = usize::try_from(limits.memory).unwrap_or(usize::MAX);
    let named = NonZeroUsize::new(NAMED_CONSUMERS).unwrap_or(NonZeroUsize::MIN);
    let pool = TrackConsumersPool::new(FairSpillPool::new(bytes), named);
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(disk(&limits.scratch))
        .build_arc()
}

fn disk(scratch: &Path) -> DiskManagerBuilder {
    DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![scratch.to_owned()]))
}
