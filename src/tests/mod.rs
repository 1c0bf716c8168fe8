//! Whole runs inside the crate, through destinations of every grain that only tests have: a project on
//! disk, the pipeline as the command line calls it, and what arrived.

mod bench;
mod golden;
mod lists;
mod other_list;
