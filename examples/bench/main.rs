//! Skeleton.
fn main() -> std::process::ExitCode { musterroll::cli::main() }
