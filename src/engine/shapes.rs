//! Shapes of SQL that DataFusion computes slowly although there is a faster way to say the same.
//!
//! They are recognised in the query as it was written, before any optimiser has been at it, and each is
//! told once per query. It is advice: nothing here stops a command, or is a warning. What the shapes cost,
//! and how that was measured, is in `docs/performance.md`.

use std::collections::BTreeMap;
use std::ops::Range;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Distinct, Expr, ExprSchemable, LogicalPlan, Operator};

use super::sql::find_word;
use crate::finding::{Finding, Source};

/// What is slow, in the order in which it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    /// The largest or smallest struct or list.
    Nested,
    /// Numbered rows, of which the first few are kept.
    Numbered,
    /// Aggregates over sorted rows.
    Ordered,
}

/// One piece of advice for every slow shape of a query.
pub(super) fn advice(model: &str, source: &Source, plan: &LogicalPlan) -> Vec<Finding> {
    let mut shapes = BTreeMap::new();
    let walked = plan.apply_with_subqueries(|node| {
        for (shape, function) in of_node(node) {
            shapes.entry(shape).or_insert(function);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    // What cannot be walked cannot be planned either, which is somebody else's finding.
    drop(walked);
    shapes.iter().map(|(shape, function)| shape.told(model, source, function)).collect()
}

/// The shapes of one node, each with the name of the function that makes it.
fn of_node(node: &LogicalPlan) -> Vec<(Shape, String)> {
    match node {
        LogicalPlan::Filter(filter) => {
            let numbered = first_few(&filter.predicate, &filter.input);
            numbered.into_iter().map(|name| (Shape::Numbered, name)).collect()
        }
        LogicalPlan::Aggregate(aggregate) => {
            let calls = aggregate.aggr_expr.iter().filter_map(call);
            calls.filter_map(|call| of_call(call, aggregate.input.schema())).collect()
        }
        LogicalPlan::Distinct(Distinct::On(on)) if on.sort_expr.is_some() => {
            vec![(Shape::Ordered, "distinct".into())]
        }
        _ => Vec::new(),
    }
}

fn call(expression: &Expr) -> Option<&AggregateFunction> {
    match unaliased(expression) {
        Expr::AggregateFunction(call) => Some(call),
        _ => None,
    }
}

fn unaliased(expression: &Expr) -> &Expr {
    match expression {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

fn of_call(call: &AggregateFunction, input: &DFSchema) -> Option<(Shape, String)> {
    let name = call.func.name().to_owned();
    let is_nested = |argument: &Expr| argument.get_type(input).is_ok_and(|kind| kind.is_nested());
    match name.as_str() {
        "max" | "min" if call.params.args.iter().any(is_nested) => Some((Shape::Nested, name)),
        "first_value" | "last_value" | "nth_value" | "array_agg"
            if !call.params.order_by.is_empty() =>
        {
            Some((Shape::Ordered, name))
        }
        _ => None,
    }
}

/// The function that numbers rows, where a filter keeps only those with small numbers.
fn first_few(predicate: &Expr, input: &LogicalPlan) -> Option<String> {
    match predicate {
        Expr::BinaryExpr(both) if both.op == Operator::And => {
            first_few(&both.left, input).or_else(|| first_few(&both.right, input))
        }
        Expr::BinaryExpr(both) => {
            let number = match both.op {
                Operator::Eq if matches!(*both.left, Expr::Literal(..)) => &both.right,
                Operator::Eq | Operator::Lt | Operator::LtEq => &both.left,
                Operator::Gt | Operator::GtEq => &both.right,
                _ => return None,
            };
            numbering(number, input)
        }
        _ => None,
    }
}

fn numbering(number: &Expr, input: &LogicalPlan) -> Option<String> {
    let Expr::Column(column) = number else { return None };
    let Expr::WindowFunction(window) = origin(column, input)? else { return None };
    let name = window.fun.name().to_owned();
    let numbers = matches!(name.as_str(), "row_number" | "rank" | "dense_rank");
    (numbers && !window.params.partition_by.is_empty()).then_some(name)
}

/// The expression that a column was made by, looked for below projections and aliases.
fn origin<'a>(column: &Column, plan: &'a LogicalPlan) -> Option<&'a Expr> {
    let place = plan.schema().index_of_column(column).ok()?;
    made_at(place, plan)
}

fn made_at(place: usize, plan: &LogicalPlan) -> Option<&Expr> {
    match plan {
        LogicalPlan::Projection(projection) => match unaliased(projection.expr.get(place)?) {
            Expr::Column(column) => origin(column, &projection.input),
            other => Some(other),
        },
        LogicalPlan::SubqueryAlias(alias) => made_at(place, &alias.input),
        LogicalPlan::Filter(filter) => made_at(place, &filter.input),
        LogicalPlan::Sort(sort) => made_at(place, &sort.input),
        LogicalPlan::Window(window) => {
            let before = window.input.schema().fields().len();
            match place.checked_sub(before) {
                Some(own) => window.window_expr.get(own),
                None => made_at(place, &window.input),
            }
        }
        _ => None,
    }
}

impl Shape {
    fn told(self, model: &str, source: &Source, function: &str) -> Finding {
        let (fact, cost, instead) = self.wording();
        // One element of an aggregated array is planned as `nth_value`.
        let aggregated = || first_word(source, "array_agg");
        Finding::advice("Q15", format!("{model} {fact}"))
            .at(source, first_word(source, function).or_else(aggregated))
            .note(cost)
            .hint(instead)
    }

    /// What the query does, what that costs, and how to say it better. The numbers are those of
    /// `docs/performance.md`.
    const fn wording(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Nested => (
                "takes the largest of structs or lists, row by row",
                "that took 7 times as long as numbering the rows of each group and keeping the first",
                "number the rows with `row_number()`, or take the largest of one column and join with it",
            ),
            Self::Numbered => (
                "numbers the rows of each group and keeps a few",
                "every row is sorted; taking the row with the largest value by joining with it took half as long",
                "`JOIN (SELECT key, max(x) AS x FROM t GROUP BY key) USING (key, x)`, where no two rows of a group share `x`",
            ),
            Self::Ordered => (
                "aggregates over sorted rows",
                "two `first_value` took 4 times as long as a join with the largest value, `DISTINCT ON` 6 times, an ordered `array_agg` 20 times as long as numbering the rows",
                "`JOIN (SELECT key, max(x) AS x FROM t GROUP BY key) USING (key, x)`, where no two rows of a group share `x`; else number the rows",
            ),
        }
    }
}

/// Where a function is first named after the header, however it is spelt.
fn first_word(source: &Source, function: &str) -> Option<Range<usize>> {
    find_word(&Source::new("", source.text.to_ascii_lowercase()), function)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::sql;
    use crate::engine::{Limits, Session};

    /// What is said of a query over `orders`, a line for each piece of advice.
    async fn said(query: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits {
            memory: 64 << 20,
            scratch: folder.path().to_owned(),
            as_of: chrono::DateTime::UNIX_EPOCH,
        };
        let session = Session::new(limits).unwrap();
        let create =
            "CREATE TABLE orders AS SELECT 'u1' AS user_id, 'tea' AS category, 2 AS amount";
        session.context().sql(create).await.unwrap();
        let source = Source::new("queries/traits/t.sql", query);
        let parsed = sql::parse(&source).unwrap();
        let plan = sql::plan(&session.state(), &parsed).await.unwrap();
        let advice = advice("trait `t`", &source, &plan);
        let line = |finding: &Finding| {
            let span = finding.place.as_ref()?.span.clone()?;
            let (line, _) = source.line_column(span.start);
            Some(format!("{line} {}: {}", &query[span], finding.message))
        };
        advice
            .iter()
            .map(|finding| line(finding).unwrap_or_else(|| format!("nowhere: {finding:?}")))
            .collect()
    }

    const NUMBERED: &str = "numbers the rows of each group and keeps a few";
    const ORDERED: &str = "aggregates over sorted rows";
    const NESTED: &str = "takes the largest of structs or lists, row by row";

    #[tokio::test]
    async fn the_first_of_numbered_rows_is_recognised() {
        let inner = "SELECT user_id, category,\n ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY \
                     amount DESC) AS place FROM orders";
        let expected = vec![format!("2 ROW_NUMBER: trait `t` {NUMBERED}")];
        for query in [
            format!("SELECT user_id, category FROM ({inner}) WHERE place = 1"),
            format!(
                "WITH n AS ({inner}) SELECT n.user_id FROM n WHERE 1 = n.place AND category <> ''"
            ),
            format!(
                "SELECT user_id FROM (SELECT user_id, place AS p FROM ({inner}) AS i) WHERE p < 2"
            ),
            format!("{} QUALIFY place <= 1", inner),
            format!(
                "SELECT user_id FROM orders WHERE category IN (SELECT category FROM ({inner}) \
                     WHERE place = 1)"
            ),
        ] {
            assert_eq!(said(&query).await, expected, "{query}");
        }
    }

    #[tokio::test]
    async fn aggregates_over_sorted_rows_are_recognised() {
        for (query, place) in [
            (
                "SELECT user_id, first_value(category ORDER BY amount) AS c FROM orders GROUP BY user_id",
                "first_value",
            ),
            (
                "SELECT user_id, last_value(category ORDER BY amount) AS c FROM orders GROUP BY user_id",
                "last_value",
            ),
            (
                "SELECT user_id, (array_agg(category ORDER BY amount))[1] AS c FROM orders GROUP BY user_id",
                "array_agg",
            ),
            (
                "SELECT DISTINCT ON (user_id) user_id, category FROM orders ORDER BY user_id, amount",
                "DISTINCT",
            ),
        ] {
            assert_eq!(said(query).await, [format!("1 {place}: trait `t` {ORDERED}")], "{query}");
        }
    }

    #[tokio::test]
    async fn the_largest_struct_is_recognised() {
        for value in
            ["named_struct('a', amount, 'c', category)", "struct(amount, category)", "[amount]"]
        {
            let query =
                format!("SELECT user_id,\n\n max({value}) AS m FROM orders GROUP BY user_id");
            assert_eq!(said(&query).await, [format!("3 max: trait `t` {NESTED}")], "{query}");
        }
    }

    #[tokio::test]
    async fn of_everything_else_nothing_is_said() {
        for query in [
            "SELECT user_id, max(category) AS row_number, array_agg(category) AS all FROM orders GROUP BY user_id",
            "SELECT DISTINCT user_id, category FROM orders WHERE amount = 1",
            "SELECT user_id, row_number() OVER (PARTITION BY user_id ORDER BY amount) AS place FROM orders",
            "SELECT user_id FROM (SELECT user_id, amount, row_number() OVER (PARTITION BY user_id \
             ORDER BY category) AS place FROM orders) WHERE amount = 1 AND place > 1",
            "SELECT user_id FROM (SELECT user_id, sum(amount) OVER (PARTITION BY user_id) AS s \
             FROM orders) WHERE s = 1",
        ] {
            assert_eq!(said(query).await, [""; 0], "{query}");
        }
    }
}
