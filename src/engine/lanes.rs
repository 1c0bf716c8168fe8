//! Lanes: where memory is scarce, the parts of a grouping or a join are computed one after the other, in
//! as many lanes as there are cores, so that only so many hash tables exist at once. What belongs to the
//! others waits in an [`Exchange`].
//!
//! DataFusion computes all parts side by side. When their tables do not fit, a grouping sorts and spills
//! all that it has, over and over, and a hash join fails.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, ReplaceChildrenOptions, SendableRecordBatchStream, StatisticsArgs,
    StatisticsContext,
};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::exchange::Exchange;

/// The same plan, of whose hash tables only those of `lanes` parts exist at a time.
pub fn in_lanes(plan: Plan, lanes: usize) -> Result<Plan> {
    // Where nobody asks for an order, whoever executes a plan puts its parts together.
    let plan = match plan.output_partitioning().partition_count() {
        0 | 1 => plan,
        _ => Arc::new(CoalescePartitionsExec::new(plan)),
    };
    let change = |node: Plan| {
        let changed = changed(&node, lanes)?;
        Ok(changed.map_or_else(|| Transformed::no(node), Transformed::yes))
    };
    Ok(plan.transform_up(change)?.data)
}

type Plan = Arc<dyn ExecutionPlan>;

/// What takes the place of a node whose inputs were changed already.
fn changed(node: &Plan, lanes: usize) -> Result<Option<Plan>> {
    if node.is::<CoalescePartitionsExec>() {
        return over_lanes(node, lanes);
    }
    if node.is::<SortPreservingMergeExec>() {
        return sorts_over_lanes(node, lanes);
    }
    Ok(exchange(node, lanes))
}

fn only_child(node: &Plan) -> Option<&Plan> {
    match node.children().as_slice() {
        [child] => Some(child),
        _ => None,
    }
}

/// The same node over another input.
fn over(node: &Plan, input: Plan) -> Result<Plan> {
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(node).replace_children(vec![input], options)
}

/// The same node, if its input comes out of exchanges in too many parts.
fn over_lanes(node: &Plan, lanes: usize) -> Result<Option<Plan>> {
    let many = |input: &&Plan| input.output_partitioning().partition_count() > lanes;
    let input = only_child(node).filter(many).filter(|input| is_dealt(input));
    let lanes = input.map(|input| Arc::new(Lanes::new(Arc::clone(input), lanes)));
    lanes.map(|lanes| over(node, lanes)).transpose()
}

/// The same node, if what it merges is sorted in too many parts.
fn sorts_over_lanes(node: &Plan, lanes: usize) -> Result<Option<Plan>> {
    let Some(input) = only_child(node).filter(|input| !ends_parts(input)) else { return Ok(None) };
    let input = match input.is::<SortExec>() {
        true => over_lanes(input, lanes)?,
        false => sorts_over_lanes(input, lanes)?,
    };
    input.map(|input| over(node, input)).transpose()
}

/// Whether what is below a node is in other parts.
fn ends_parts(node: &Plan) -> bool {
    node.is::<Exchange>()
        || node.is::<RepartitionExec>()
        || node.is::<CoalescePartitionsExec>()
        || node.is::<SortPreservingMergeExec>()
}

/// Whether parts of a plan come out of an exchange.
fn is_dealt(plan: &Plan) -> bool {
    let mut found = false;
    let search = plan.apply(|node| {
        found |= node.is::<Exchange>();
        Ok(if found || ends_parts(node) {
            TreeNodeRecursion::Jump
        } else {
            TreeNodeRecursion::Continue
        })
    });
    search.is_ok() && found
}

/// In place of what deals rows out by hash while they are read.
fn exchange(node: &Plan, lanes: usize) -> Option<Plan> {
    let dealing = node.downcast_ref::<RepartitionExec>().filter(|node| !node.preserve_order())?;
    let Partitioning::Hash(keys, _) = dealing.partitioning() else { return None };
    let (input, properties) = (Arc::clone(dealing.input()), Arc::clone(node.properties()));
    // Whoever deals holds little, and waits for files now and then.
    Some(Arc::new(Exchange::new(input, keys.clone(), properties, 2 * lanes)))
}

/// How many bytes the largest deal of a plan may come to, as far as that is known.
pub fn dealt_out(plan: &Plan) -> Result<u64> {
    let (mut most, statistics) = (0, StatisticsContext::new());
    plan.apply(|node| {
        let dealing = node.downcast_ref::<RepartitionExec>();
        if let Some(dealing) =
            dealing.filter(|node| matches!(node.partitioning(), Partitioning::Hash(..)))
        {
            let known = statistics.compute(dealing.input().as_ref(), &StatisticsArgs::new())?;
            let rows = known.num_rows.get_value().copied().unwrap_or(0);
            let width: usize =
                node.schema().fields().iter().map(|field| width(field.data_type())).sum();
            most = most.max(rows.saturating_mul(width) as u64);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(most)
}

/// Bytes of a value, roughly.
fn width(of: &DataType) -> usize {
    of.primitive_width().unwrap_or(32)
}

/// Reads the partitions of its input one after the other, in as many lanes as it has partitions itself.
#[derive(Debug)]
struct Lanes {
    input: Plan,
    properties: Arc<PlanProperties>,
}

impl Lanes {
    fn new(input: Plan, lanes: usize) -> Self {
        let unordered = EquivalenceProperties::new(input.schema());
        let properties = PlanProperties::clone(input.properties())
            .with_eq_properties(unordered)
            .with_partitioning(Partitioning::UnknownPartitioning(lanes));
        Self { input, properties: Arc::new(properties) }
    }

    fn lanes(&self) -> usize {
        self.properties.output_partitioning().partition_count()
    }
}

impl DisplayAs for Lanes {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lanes: {}", self.lanes())
    }
}

impl ExecutionPlan for Lanes {
    fn name(&self) -> &'static str {
        "Lanes"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Plan> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Plan>) -> Result<Plan> {
        let Some(input) = children.pop() else { return internal_err!("lanes without input") };
        Ok(Arc::new(Self::new(input, self.lanes())))
    }

    fn execute(&self, lane: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = Arc::clone(&self.input);
        let parts = (lane..input.output_partitioning().partition_count()).step_by(self.lanes());
        let schema = input.schema();
        let rows = stream::iter(parts)
            .map(move |part| input.execute(part, Arc::clone(&context)))
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::RecordBatch;
    use datafusion::physical_plan::common::collect;

    use super::super::columns::first_row_counts;
    use super::super::session::Session;
    use super::super::session::tests::session;

    async fn rows(session: &Session, sql: &str) -> datafusion::error::Result<Vec<RecordBatch>> {
        let plan = session.plan(sql).await?;
        collect(session.stream(&plan).await?).await
    }

    /// Two hash tables of some 10 MB each.
    const JOIN: &str = "SELECT CAST(count(*) AS BIGINT), CAST(sum(b.n) AS BIGINT) \
         FROM (SELECT CAST(value AS VARCHAR) AS k FROM generate_series(1, 150000)) AS a \
         JOIN (SELECT CAST(value AS VARCHAR) AS k, value AS n FROM generate_series(1, 150000)) AS b \
         ON a.k = b.k";

    #[tokio::test(flavor = "multi_thread")]
    async fn a_join_that_does_not_fit_is_computed_part_by_part() {
        let scratch = tempfile::tempdir().unwrap();
        let scarce = session(4 << 20, &scratch);
        let plan = scarce.explain(JOIN).await.unwrap();
        for node in ["Lanes: ", "HashJoinExec: mode=Partitioned", "Exchange: Hash([k@0], "] {
            assert!(plan.contains(node), "{plan}");
        }
        assert!(!plan.contains("RepartitionExec"), "{plan}");
        let joined = rows(&scarce, JOIN).await.unwrap();
        assert_eq!(first_row_counts(&joined), [150_000, 11_250_075_000]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn lanes_yield_what_parts_side_by_side_do() {
        let scratch = tempfile::tempdir().unwrap();
        let (scarce, ample) = (session(64 << 20, &scratch), session(4 << 30, &scratch));
        for sql in [
            "SELECT value % 1000 AS k, count(*) FROM generate_series(1, 20000) GROUP BY k ORDER BY k",
            "SELECT DISTINCT value % 7 AS k FROM generate_series(1, 20000) ORDER BY k DESC LIMIT 3",
            "SELECT k, nth FROM (SELECT value % 50 AS k, row_number() OVER (PARTITION BY value % 50 \
             ORDER BY value) AS nth FROM generate_series(1, 2000)) WHERE nth < 4 ORDER BY k, nth",
            "SELECT value, count(*) FROM (SELECT value % 12001 AS value FROM generate_series(1, 9000) UNION ALL \
             SELECT value % 12001 FROM generate_series(5000, 12000)) GROUP BY value ORDER BY 2 DESC, 1 LIMIT 5",
            "SELECT count(DISTINCT k), max(n) FROM (SELECT value % 90 AS k, count(*) AS n \
             FROM generate_series(1, 20000) GROUP BY k)",
        ] {
            let [in_lanes, at_once] = [rows(&scarce, sql).await, rows(&ample, sql).await];
            let [in_lanes, at_once] = [in_lanes, at_once].map(|rows| text(&rows.unwrap()));
            assert_eq!(in_lanes, at_once, "{sql}");
            let plans = [scarce.explain(sql).await.unwrap(), ample.explain(sql).await.unwrap()];
            assert!(plans[0].contains("Exchange: "), "{}", plans[0]);
            assert!(!plans[1].contains("Exchange: "), "{}", plans[1]);
        }
    }

    #[tokio::test]
    async fn much_is_computed_in_lanes_however_much_memory_there_is() {
        let scratch = tempfile::tempdir().unwrap();
        let ample = session(4 << 30, &scratch);
        let values = (0..100).map(|value| format!("({value})")).collect::<Vec<_>>().join(", ");
        let grouped = |tables: &str| {
            format!(
                "WITH v AS (VALUES {values}) SELECT a.column1, count(*) FROM {tables} GROUP BY 1"
            )
        };
        let much = ample.explain(&grouped("v AS a, v AS b, v AS c, v AS d, v AS e")).await.unwrap();
        assert!(much.contains("Lanes: "), "{much}");
        let little = ample.explain(&grouped("v AS a, v AS b, v AS c")).await.unwrap();
        assert!(little.contains("RepartitionExec: "), "{little}");
    }

    fn text(rows: &[RecordBatch]) -> String {
        datafusion::arrow::util::pretty::pretty_format_batches(rows).unwrap().to_string()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_fails_before_an_exchange_fails_the_query() {
        let scratch = tempfile::tempdir().unwrap();
        let sql = "SELECT k, count(*) FROM (SELECT CAST('x' || value AS BIGINT) AS k \
                   FROM generate_series(1, 9)) GROUP BY k";
        let failed = rows(&session(64 << 20, &scratch), sql).await.unwrap_err();
        assert!(
            failed.to_string().contains("Cannot cast string 'x1' to value of Int64"),
            "{failed}"
        );
    }
}
