//! One convergence run per shape of destination (DESIGN §4.6): the real binary against small stateful
//! twins of the vendors, which keep contacts and lists as the vendor would.
//!
//! A twin answers in its vendor's own words: partial failures, tokens that are over, used-up limits,
//! refusals, jobs. It knows nothing of Muster. What it must hold in the end is computed in plain Rust
//! from the rows of a random world, and what no client may ever do is a *violation*.
//!
//! Two histories per shape by default; `MUSTER_CONVERGENCE_SECONDS` says how long histories are started,
//! `MUSTER_SEED` repeats the one that failed.

mod facebook;
mod fate;
mod history;
mod hubspot_lists;
mod iterable;
mod marketo;
mod people;
mod salesforce;
mod stage;
mod zendesk;
