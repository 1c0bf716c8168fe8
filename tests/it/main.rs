//! Muster from outside: the real binary against a real loopback server, through nothing but what
//! users type, read and receive (the contract parts of DESIGN §1 to §4).
//!
//! Nothing here sleeps and nothing is retried; what is random prints its seed. Wait for events, not
//! for time: a request reached the [`sink`], a process ended.
#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::large_stack_arrays,
    reason = "a test fails by panicking, reads its own environment and the clock"
)]

mod bad_input;
mod bad_state;
mod commands;
mod convergence;
mod emails;
mod faults;
mod large;
mod layers;
mod layers_of_state;
mod messages;
mod outcomes;
mod pages;
mod payloads;
mod process;
mod project;
mod rate;
mod remote;
mod replies;
mod report;
mod sample;
mod sftp;
mod sink;
mod snapshots;
mod twins;
mod unchanged;
mod world;
