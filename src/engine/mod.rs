//! The only place that names datafusion, arrow and parquet: tables, compute, diff, merge, rows.

mod block;
mod messages;

pub use block::{Block, BlockError, FixtureRow, Shape, changes_schema_version};
pub use messages::{MessageRow, MessagesError, messages_to_parquet};
