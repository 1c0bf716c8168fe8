//! The only place that names datafusion, arrow and parquet: tables, compute, diff, merge, rows.

mod block;

pub use block::{Block, BlockError, FixtureRow, Shape, changes_schema_version};
