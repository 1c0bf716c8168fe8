//! Muster: a warehouse-native sync engine. See `src/ARCHITECTURE.md` for the picture.

// Tests say what they mean in the shortest way; the rules below are for what ships.
#![cfg_attr(
    test,
    allow(
        clippy::pedantic,
        clippy::disallowed_methods,
        clippy::large_stack_arrays,
        clippy::type_complexity,
        clippy::naive_bytecount
    )
)]

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

#[cfg(test)]
mod tests;
