//! Muster: a warehouse-native sync engine. See `src/ARCHITECTURE.md` for the picture.

mod digest;

pub mod cli;
pub mod delivery;
pub mod destinations;
pub mod engine;
pub mod finding;
pub mod guard;
pub mod message;
pub mod outbox;
pub mod plan;
pub mod project;
pub mod record;
pub mod run;
pub mod state;
