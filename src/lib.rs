//! Muster: a warehouse-native sync engine. See `src/ARCHITECTURE.md` for the picture.

pub mod delivery;
pub mod destinations;
pub mod engine;
pub mod finding;
pub mod message;
pub mod outbox;
pub mod project;
pub mod record;
