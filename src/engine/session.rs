//! One DataFusion session per command: bounded memory with spilling, clock functions pinned to the
//! run's time, and a second, ordered session for merges of sorted files.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::DataFusionError;
use datafusion::common::TableReference;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::TrackConsumersPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Sort, cast as cast_to};
use datafusion::physical_plan::common::{collect, spawn_buffered};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream};
use datafusion::physical_planner::DefaultPhysicalPlanner;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::columns::first_row_counts;
use super::error::{EngineError, Result};
use super::files;
use super::lanes::{dealt_out, in_lanes};
use super::memory::SharedPool;
use super::writer::{Purpose, WriteError};

/// How many of the largest consumers an out-of-memory message names.
const NAMED_CONSUMERS: usize = 3;

/// What every sort keeps for itself, so that it can begin to merge.
const SPILL_RESERVATION: usize = 1 << 20;

/// Memory from which on two queries may hold what they need at once, and all the parts of a query.
const AMPLE: u64 = 3 << 30;

/// Merges of sorted files hold a batch of each; what little they sort, which is what differs by the fields
/// of a list, is spilled past this part of the memory.
const MERGE_SHARE: u64 = 64;

/// The least memory of a merge, unless there is less.
const MERGE_LEAST: u64 = 64 << 20;

/// Batches that are made before they are asked for.
const AHEAD: usize = 2;

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
    /// All the memory there is, for a query that ran out of its share.
    reserve: Arc<RuntimeEnv>,
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
        let runtime = runtime(&limits.scratch, limits.memory)?;
        let mut config = config(Width::of(&limits));
        config.options_mut().sql_parser.collect_spans = true;
        config.options_mut().catalog.default_catalog = "project".into();
        let context = SessionContext::new_with_config_rt(config, Arc::clone(&runtime));
        Ok(Self { context, limits, order: Order::Free, reserve: runtime })
    }

    /// A session for merges of sorted files: one partition, no hash joins, a share of the memory, same
    /// time.
    pub fn ordered(&self) -> Result<Self> {
        let mut config = config(Width::MERGE);
        let optimizer = &mut config.options_mut().optimizer;
        optimizer.prefer_hash_join = false;
        optimizer.repartition_file_scans = false;
        optimizer.enable_dynamic_filter_pushdown = false;
        let share = (self.limits.memory / MERGE_SHARE).max(MERGE_LEAST).min(self.limits.memory);
        let runtime = runtime(&self.limits.scratch, share)?;
        Ok(self.with(config, Order::Kept, runtime))
    }

    /// A session with tables of its own, every join allowed, same memory and time.
    #[must_use]
    pub fn beside(&self) -> Self {
        self.with(config(Width::of(&self.limits)), Order::Free, Arc::clone(&self.reserve))
    }

    /// The same, in which what is made of sorted rows keeps their order: they are sorted although they
    /// are selected from, and are not dealt out to many partitions again.
    #[must_use]
    pub fn in_order(&self) -> Self {
        let mut config = config(Width::of(&self.limits));
        sort_what_is_selected_from(&mut config);
        config.options_mut().optimizer.enable_round_robin_repartition = false;
        self.with(config, Order::Free, Arc::clone(&self.reserve))
    }

    fn with(&self, config: SessionConfig, order: Order, runtime: Arc<RuntimeEnv>) -> Self {
        let context = SessionContext::new_with_config_rt(config, runtime);
        let (limits, reserve) = (self.limits.clone(), Arc::clone(&self.reserve));
        Self { context, limits, order, reserve }
    }

    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether there is memory for two queries side by side.
    pub fn holds_two(&self) -> bool {
        self.limits.memory >= AMPLE
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

    /// Plans Muster's own SQL that sorts, with texts that are compact before they are sorted: as views
    /// they share the buffers they were read into, and every batch of sorted rows keeps, and counts as its
    /// own, the buffers of whatever its rows came from. What is selected from is sorted, too, if the SQL
    /// says so.
    pub async fn plan_sorted(&self, sql: &str) -> datafusion::error::Result<LogicalPlan> {
        let mut state = self.state();
        sort_what_is_selected_from(state.config_mut());
        let plan = state.create_logical_plan(sql).await?;
        let compacted = plan.transform_up(|plan| match plan {
            LogicalPlan::Sort(sort) => compact(sort).map(Transformed::yes),
            // The types of what is selected from a sort are those of the sort.
            plan => plan.recompute_schema().map(Transformed::yes),
        });
        Ok(compacted?.data)
    }

    /// The physical plan of SQL, as text.
    #[cfg(test)]
    pub async fn explain(&self, sql: &str) -> datafusion::error::Result<String> {
        self.explain_plan(&self.plan(sql).await?).await
    }

    /// The physical plan, as text.
    #[cfg(test)]
    pub async fn explain_plan(&self, plan: &LogicalPlan) -> datafusion::error::Result<String> {
        let (plan, _) = self.physical(plan, Joins::Hash).await?;
        Ok(datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string())
    }

    /// What a plan yields, once: for scans, which need no memory to speak of.
    pub async fn stream(
        &self,
        plan: &LogicalPlan,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        self.start(plan, Joins::Hash).await
    }

    /// Hands what a plan yields to `consume`; should memory run out, all of it once more, from a plan
    /// that spills wherever it can.
    pub async fn execute<T>(
        &self,
        plan: &LogicalPlan,
        consume: impl AsyncFn(SendableRecordBatchStream) -> std::result::Result<T, WriteError>,
    ) -> std::result::Result<T, WriteError> {
        let first = async { consume(self.start(plan, Joins::Hash).await?).await };
        match first.await {
            Err(WriteError::Query(error)) if ran_out_of_memory(&error) => {
                tracing::info!(reason = %error.strip_backtrace(), "Memory ran out; once more, spilling");
                consume(self.start(plan, Joins::Merge).await?).await
            }
            other => other,
        }
    }

    /// Runs Muster's own SQL into a file; how many rows there are.
    pub async fn write(&self, what: &str, sql: &str, path: &Path) -> Result<u64> {
        let plan = self.plan(sql).await.map_err(|error| EngineError::of(what, error))?;
        self.write_plan(what, &plan, path).await
    }

    /// Runs a plan into a file; how many rows there are.
    pub async fn write_plan(&self, what: &str, plan: &LogicalPlan, path: &Path) -> Result<u64> {
        let write = async |stream| files::write_stream(path, stream, Purpose::Scratch).await;
        self.execute(plan, write).await.map_err(|error| error.of(what, path))
    }

    /// The whole numbers in the single row a query returns.
    pub async fn counts(&self, what: &str, sql: &str) -> Result<Vec<u64>> {
        let plan = self.plan(sql).await.map_err(|error| EngineError::of(what, error))?;
        let collect = async |stream| Ok(collect(stream).await?);
        let batches = self.execute(&plan, collect).await;
        let batches = batches.map_err(|error| error.of(what, &self.limits.scratch))?;
        Ok(first_row_counts(&batches))
    }

    /// What a query returns, as text: for a few rows.
    pub async fn texts<const COLUMNS: usize>(
        &self,
        what: &str,
        sql: &str,
    ) -> Result<Vec<[Option<String>; COLUMNS]>> {
        let failed = |error| EngineError::of(what, error);
        let plan = self.plan(sql).await.map_err(failed)?;
        let batches = collect(self.stream(&plan).await.map_err(failed)?).await.map_err(failed)?;
        let mut rows = Vec::new();
        for batch in batches {
            let text = |column: &ArrayRef| cast(column, &DataType::Utf8);
            let columns =
                batch.columns().iter().map(text).collect::<std::result::Result<Vec<_>, _>>();
            let columns = columns.map_err(|error| failed(error.into()))?;
            rows.extend((0..batch.num_rows()).map(|row| {
                std::array::from_fn(|column| {
                    let column = columns.get(column)?.as_string_opt::<i32>()?;
                    column.is_valid(row).then(|| column.value(row).to_owned())
                })
            }));
        }
        Ok(rows)
    }

    async fn start(
        &self,
        plan: &LogicalPlan,
        joins: Joins,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let (plan, context) = self.physical(plan, joins).await?;
        let stream = execute_stream(plan, Arc::new(context))?;
        // The next rows are made while these are used.
        Ok(spawn_buffered(stream, AHEAD))
    }

    /// A plan, and what it is to be executed in.
    async fn physical(
        &self,
        plan: &LogicalPlan,
        joins: Joins,
    ) -> datafusion::error::Result<(Arc<dyn ExecutionPlan>, TaskContext)> {
        let mut state = self.state();
        if joins == Joins::Merge {
            // Few sorts side by side, small batches: what merging spilled runs holds is a few batches
            // of each.
            let config = state.config().clone();
            *state.config_mut() = config.with_batch_size(1024).with_target_partitions(1);
            let options = state.config_mut().options_mut();
            options.optimizer.prefer_hash_join = false;
            options.execution.sort_spill_reservation_bytes = SPILL_RESERVATION;
            let context = TaskContext::from(&state).with_runtime(Arc::clone(&self.reserve));
            return Ok((merging(state, plan).await?, context));
        }
        if self.order == Order::Kept {
            let context = TaskContext::from(&state);
            return Ok((merging(state, plan).await?, context));
        }
        let (mut width, mut made) =
            (Width::of(&self.limits), state.create_physical_plan(plan).await?);
        if width.lanes.is_none() && dealt_out(&made)? > self.limits.memory / 2 {
            width = Width::scarce(self.limits.memory);
            *state.config_mut() = width.set(state.config().clone());
            made = state.create_physical_plan(plan).await?;
        }
        if let Some(lanes) = width.lanes {
            made = in_lanes(made, lanes)?;
        }
        Ok((made, TaskContext::from(&state)))
    }

    pub fn register(
        &self,
        name: impl Into<TableReference>,
        table: Arc<dyn TableProvider>,
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

fn sort_what_is_selected_from(config: &mut SessionConfig) {
    config.options_mut().sql_parser.enable_subquery_sort_elimination = false;
}

/// Texts in place of views before they are sorted.
fn compact(sort: Sort) -> datafusion::error::Result<LogicalPlan> {
    let columns = sort.input.schema().iter().map(|(qualifier, field)| {
        let column = Expr::from((qualifier, field));
        match field.data_type() {
            DataType::Utf8View => {
                cast_to(column, DataType::Utf8).alias_qualified(qualifier.cloned(), field.name())
            }
            _ => column,
        }
    });
    let columns: Vec<Expr> = columns.collect();
    let input = Arc::unwrap_or_clone(sort.input);
    LogicalPlanBuilder::from(input).project(columns)?.sort(sort.expr)?.build()
}

/// A plan with merge joins, in one partition.
async fn merging(
    state: SessionState,
    plan: &LogicalPlan,
) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
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

/// Whether trying again with joins that spill can help.
fn ran_out_of_memory(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

fn config(width: Width) -> SessionConfig {
    let mut config =
        SessionConfig::new().with_information_schema(false).with_collect_statistics(true);
    let options = config.options_mut();
    options.execution.parquet.pushdown_filters = false;
    options.execution.listing_table_ignore_subdirectory = false;
    width.set(config)
}

/// In how many parts, and how many rows at a time, a query is computed.
#[derive(Debug, Clone, Copy)]
struct Width {
    partitions: usize,
    batch: usize,
    /// Parts that are computed at a time, unless all are.
    lanes: Option<usize>,
}

impl Width {
    const MERGE: Self = Self { partitions: 1, batch: 8192, lanes: None };

    /// Hash tables that are cut into more parts than there are cores fit into the caches, and long
    /// batches spread what every part costs: both measured, see docs/performance.md.
    fn of(limits: &Limits) -> Self {
        match limits.memory >= AMPLE {
            true => Self { partitions: (2 * cores()).max(16), batch: 32 * 1024, lanes: None },
            false => Self::scarce(limits.memory),
        }
    }

    /// Each part holds memory of its own: only a few of them are computed at a time.
    fn scarce(memory: u64) -> Self {
        let rows = usize::try_from(memory >> 15).unwrap_or(usize::MAX);
        let batch = rows.clamp(4096, 16 * 1024).next_power_of_two();
        Self { partitions: (4 * cores()).max(64), batch, lanes: Some(cores()) }
    }

    fn set(self, config: SessionConfig) -> SessionConfig {
        let mut config = config.with_target_partitions(self.partitions).with_batch_size(self.batch);
        if self.lanes.is_some() {
            let options = config.options_mut();
            // Nobody may wait for all the parts, which are not there at once.
            options.optimizer.enable_join_dynamic_filter_pushdown = false;
            options.optimizer.enable_round_robin_repartition = false;
            options.execution.sort_spill_reservation_bytes = SPILL_RESERVATION;
        }
        config
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2))
}

/// Memory for queries that share it, and where they spill.
fn runtime(scratch: &Path, memory: u64) -> Result<Arc<RuntimeEnv>> {
    let bytes = usize::try_from(memory).unwrap_or(usize::MAX);
    let named = NonZeroUsize::new(NAMED_CONSUMERS).unwrap_or(NonZeroUsize::MIN);
    let pool = TrackConsumersPool::new(SharedPool::new(bytes), named);
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(disk(scratch))
        .build_arc()
        .map_err(|source| EngineError::of("the session", source))
}

fn disk(scratch: &Path) -> DiskManagerBuilder {
    DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![scratch.to_owned()]))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A single value of 100 MB, which no query can spill.
    const LARGE: &str = "SELECT CAST(length(string_agg(repeat('x', 1000), '')) AS BIGINT) \
                         FROM generate_series(1, 100000)";

    pub(in super::super) fn session(memory: u64, scratch: &tempfile::TempDir) -> Session {
        let scratch = scratch.path().to_owned();
        Session::new(Limits { memory, scratch, as_of: DateTime::default() }).unwrap()
    }

    #[tokio::test]
    async fn a_merge_has_a_share_of_the_memory_and_all_of_it_when_that_is_not_enough() {
        let scratch = tempfile::tempdir().unwrap();
        let merge = session(1 << 30, &scratch).ordered().unwrap();
        let plan = merge.plan(LARGE).await.unwrap();
        let once = collect(merge.stream(&plan).await.unwrap()).await;
        assert!(once.is_err_and(|error| ran_out_of_memory(&error)));
        assert_eq!(merge.counts("it", LARGE).await.unwrap(), [100_000_000]);

        let merge = session(32 << 20, &scratch).ordered().unwrap();
        let refused = merge.counts("it", LARGE).await.unwrap_err();
        assert!(matches!(refused, EngineError::Exhausted { .. }), "{refused}");
    }

    #[tokio::test]
    async fn texts_are_compact_before_they_are_sorted() {
        let scratch = tempfile::tempdir().unwrap();
        let session = session(1 << 30, &scratch);
        let sql = "SELECT CAST(value AS VARCHAR) AS text, value FROM generate_series(1, 9) ORDER BY text DESC";
        let types = |plan: &LogicalPlan| {
            plan.schema().fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>()
        };
        let plan = session.plan(sql).await.unwrap();
        assert_eq!(types(&plan), [DataType::Utf8View, DataType::Int64]);
        let plan = session.plan_sorted(sql).await.unwrap();
        assert_eq!(types(&plan), [DataType::Utf8, DataType::Int64]);
        let rows = collect(session.stream(&plan).await.unwrap()).await.unwrap();
        let numbers = rows[0].column(1).as_primitive::<datafusion::arrow::datatypes::Int64Type>();
        assert_eq!(numbers.values().to_vec(), [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    }
}
