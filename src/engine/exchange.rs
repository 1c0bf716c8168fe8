//! Dealing rows out by a hash of their keys, all of them before the first is read: what does not fit
//! into its share of the memory waits in one file for each part.
//!
//! DataFusion's `RepartitionExec` hands rows on while it deals, and spills what its readers have not
//! taken. Where readers wait for each other it can stop for good (apache/datafusion#24883: a reader
//! that has two open spill files to choose from waits for the wrong one); here nobody reads before
//! everything is written, so that nobody waits for anybody.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::BatchCoalescer;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::runtime::JoinSet;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::common::spawn_buffered;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, SpillMetrics, Time};
use datafusion::physical_plan::repartition::BatchPartitioner;
use datafusion::physical_plan::spill::SpillManager;
use datafusion::physical_plan::spill::spill_pool::{self, SpillPoolSink};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    SendableRecordBatchStream,
};
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::{OnceCell, Semaphore};

/// What an exchange calls itself where memory is shared out.
pub(super) const EXCHANGE: &str = "Exchange";

/// Batches that are read from files before they are asked for.
const AHEAD: usize = 2;

/// Deals the rows of its input out by a hash of `keys`. Clones are the same exchange.
#[derive(Clone)]
pub(super) struct Exchange {
    input: Arc<dyn ExecutionPlan>,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    /// As many partitions as heaps are made, dealt out by hash.
    properties: Arc<PlanProperties>,
    /// Partitions of the input that are read at a time.
    at_once: usize,
    heaps: Arc<OnceCell<Dealt>>,
}

type Dealt = std::result::Result<Heaps, Arc<DataFusionError>>;
type Heaps = Arc<[Mutex<Option<Heap>>]>;

impl Exchange {
    /// `properties` say into how many partitions, by hash, and promise no order.
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        keys: Vec<Arc<dyn PhysicalExpr>>,
        properties: Arc<PlanProperties>,
        at_once: usize,
    ) -> Self {
        Self { input, keys, properties, at_once, heaps: Arc::default() }
    }

    async fn deal(&self, context: &Arc<TaskContext>) -> Result<Heaps> {
        let parts = self.properties.output_partitioning().partition_count();
        let heap = |part| Mutex::new(Some(Heap::new(part, context, self.input.schema())));
        let heaps: Heaps = (0..parts).map(heap).collect();
        let turns = Arc::new(Semaphore::new(self.at_once));
        let mut tasks = JoinSet::new();
        for partition in 0..self.input.output_partitioning().partition_count() {
            let (input, keys) = (Arc::clone(&self.input), self.keys.clone());
            let (turns, heaps) = (Arc::clone(&turns), Arc::clone(&heaps));
            let context = Arc::clone(context);
            tasks.spawn(async move {
                let _turn = turns.acquire_owned().await;
                deal_from(input.execute(partition, context)?, keys, &heaps).await
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))??;
        }
        Ok(heaps)
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl DisplayAs for Exchange {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exchange: {}", self.properties.output_partitioning())
    }
}

impl ExecutionPlan for Exchange {
    fn name(&self) -> &'static str {
        EXCHANGE
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for key in &self.keys {
            if visit(key)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop() else { return internal_err!("an exchange without input") };
        Ok(Arc::new(Self { input, heaps: Arc::default(), ..Self::clone(&self) }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let exchange = self.clone();
        let rows = async move {
            let deal = || async { exchange.deal(&context).await.map_err(Arc::new) };
            let heaps = exchange.heaps.get_or_init(deal).await;
            let heaps = heaps.as_ref().map_err(DataFusionError::from)?;
            let heap = heaps.get(partition).and_then(|heap| lock(heap).take());
            heap.map_or_else(|| internal_err!("heap {partition} was read before"), Heap::rows)
        };
        let rows = stream::once(rows).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.input.schema(), rows)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn deal_from(
    mut rows: SendableRecordBatchStream,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    heaps: &Heaps,
) -> Result<()> {
    let mut partitioner = BatchPartitioner::new_hash_partitioner(keys, heaps.len(), Time::new())?;
    while let Some(batch) = rows.next().await {
        partitioner.partition(batch?, |part, rows| {
            let Some(heap) = heaps.get(part) else { return internal_err!("no heap {part}") };
            lock(heap).as_mut().map_or(Ok(()), |heap| heap.push(rows))
        })?;
    }
    Ok(())
}

/// The rows of one part: in memory as far as there is room, then in files.
struct Heap {
    /// Rows that do not make a batch yet.
    few: BatchCoalescer,
    held: Vec<RecordBatch>,
    reservation: MemoryReservation,
    spill: SpillPoolSink,
    spilled: SendableRecordBatchStream,
}

impl Heap {
    fn new(part: usize, context: &TaskContext, schema: SchemaRef) -> Self {
        let config = context.session_config();
        let metrics = SpillMetrics::new(&ExecutionPlanMetricsSet::new(), part);
        let spills = SpillManager::new(context.runtime_env(), metrics, Arc::clone(&schema));
        let spills = spills.with_compression_type(config.spill_compression());
        let file_size = config.options().execution.max_spill_file_size_bytes.get();
        let (spill, spilled) = spill_pool::spsc_channel(file_size, Arc::new(spills));
        let consumer = MemoryConsumer::new(format!("{EXCHANGE}[{part}]")).with_can_spill(true);
        let reservation = consumer.register(context.memory_pool());
        let few = BatchCoalescer::new(schema, config.batch_size());
        Self { few, held: Vec::new(), reservation, spill, spilled }
    }

    fn push(&mut self, rows: RecordBatch) -> Result<()> {
        self.few.push_batch(rows)?;
        self.put_by()
    }

    fn put_by(&mut self) -> Result<()> {
        while let Some(batch) = self.few.next_completed_batch() {
            match self.reservation.try_grow(batch.get_array_memory_size()) {
                Ok(()) => self.held.push(batch),
                Err(_) => self.spill.push_batch(&batch)?,
            }
        }
        Ok(())
    }

    /// All rows, once no more are pushed.
    fn rows(mut self) -> Result<SendableRecordBatchStream> {
        self.few.finish_buffered_batch()?;
        self.put_by()?;
        let Self { held, reservation, spill, spilled, .. } = self;
        drop(spill);
        let schema = spilled.schema();
        let held = stream::iter(held).map(move |batch| {
            reservation.shrink(batch.get_array_memory_size());
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            schema,
            held.chain(spawn_buffered(spilled, AHEAD)),
        )))
    }
}
