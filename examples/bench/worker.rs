//! Inner work on demand, in a process of its own: one line of words in, one line of JSON out.

use std::io::{BufRead as _, Write as _};
use std::time::Instant;

use serde_json::{Value, json};

use crate::{Outcome, changes, compute, difference, dispatch, encode, plain};

/// Does one kind of work until nobody asks any more.
pub fn serve(words: &[String]) -> Outcome {
    let (kind, rest) = words.split_first().ok_or("a worker does something")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    runtime.block_on(async {
        match kind.as_str() {
            "changes" => changes::serve(&rest).await,
            "compute" => compute::serve(&rest).await,
            "difference" => difference::serve(&rest).await,
            "dispatch" => dispatch::serve(&rest).await,
            "encode" => encode::serve(&rest),
            "encode-once" => encode::once(&rest),
            "plain" => plain::serve(&rest).await,
            other => Err(format!("nobody does `{other}`").into()),
        }
    })
}

/// Reads one request after the other and answers what `work` answers.
pub async fn answering(mut work: impl AsyncFnMut(&[&str]) -> Outcome<Value>) -> Outcome {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split('\t').collect();
        let answer = match work(&words).await {
            Ok(answer) => answer,
            Err(error) => json!({ "error": error.to_string() }),
        };
        let mut out = std::io::stdout();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// Seconds since, as an answer says them.
pub fn since(started: Instant) -> f64 {
    started.elapsed().as_secs_f64()
}
