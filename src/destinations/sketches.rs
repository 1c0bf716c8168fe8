//! A destination that exists in tests only: the recorder, which whole runs in tests are sent to.

pub(super) mod recorder;

use super::{BatchLimits, Spec};

/// A list of people matched by email and phone.
const LIST: Spec = Spec {
    kind: "sketch",
    title: "Sketch",
    summary: "A sketch.",
    identifiers: "email, phone",
    batch: BatchLimits { rows: 10_000, max_rows: 10_000, bytes: 8_000_000, row_bytes: 100_000 },
    concurrency: 1,
    ..Spec::LIST
};
