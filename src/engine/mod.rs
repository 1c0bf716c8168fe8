//! The only place that names datafusion, arrow and parquet: tables, compute, diff, merge, rows.

mod answer;
mod block;
mod changes;
mod columns;
mod compare;
mod compute;
mod delivered;
mod difference;
mod differing;
mod encoder;
mod error;
mod exchange;
mod files;
mod fingerprint;
mod folding;
mod invalid;
mod keys;
mod lake;
mod lanes;
mod layers;
mod memory;
mod messages;
mod parquet_format;
mod records;
mod sealed;
mod session;
mod shapes;
mod shared;
mod sql;
mod tables;
#[cfg(test)]
mod tests;
mod wording;
mod writer;

pub use answer::{
    DELIVERIES, Rows, answer, delivered_rows, register_rows, register_union, standings,
};
pub use block::{Block, BlockError, FixtureRow, Shape, changes_schema_version};
pub use changes::{ChangeCounts, Changes, Labelling, write_changes};
pub use columns::ModelColumn;
pub use compare::{Compared, Comparison, Usability, compare};
pub use compute::{Computed, Wanted, compute};
pub use delivered::{DELIVERED_FORMAT, DeliveredFiles, compact};
pub use difference::{Fading, Reading};
pub use error::{EngineError, Result};
pub use files::footer;
pub use folding::{Folded, Folding, fold};
pub use invalid::{Invalid, invalid_rows};
pub use lake::{Lake, ModelPlan};
pub use messages::{MessageRow, MessagesError, messages_to_parquet};
pub use records::Records;
pub use sealed::{BlocksError, displaced_rows, read_blocks};
pub use session::{Limits, Session};
pub use sql::references_of as references;
pub use wording::Wording;
