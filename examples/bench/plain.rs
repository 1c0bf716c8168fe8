//! The least that any program with this HTTP client does: post bytes, read the reply, again.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::worker::{answering, since};

/// Answers `URL REQUESTS CONCURRENCY BYTES`.
pub async fn serve(_words: &[&str]) -> Outcome {
    // As Muster's own transport does once per process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .tcp_nodelay(true)
        .timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(usize::MAX)
        .build()?;
    answering(async |words| {
        let [url, requests, concurrency, bytes] = words else { return Err("four words".into()) };
        let (requests, concurrency): (u64, u64) = (requests.parse()?, concurrency.parse()?);
        let url = url.parse::<reqwest::Url>()?;
        let body = Bytes::from(vec![b'x'; bytes.parse()?]);
        let started = Instant::now();
        let mut loops = JoinSet::new();
        for place in 0..concurrency {
            let (client, url, body) = (client.clone(), url.clone(), body.clone());
            let mine = requests / concurrency + u64::from(place < requests % concurrency);
            loops.spawn(async move { post(&client, &url, &body, mine).await });
        }
        while let Some(ended) = loops.join_next().await {
            ended??;
        }
        Ok(json!({ "seconds": since(started) }))
    })
    .await
}

async fn post(
    client: &reqwest::Client,
    url: &reqwest::Url,
    body: &Bytes,
    requests: u64,
) -> Result<(), reqwest::Error> {
    for _ in 0..requests {
        let request = client.post(url.clone()).header("content-type", "application/json");
        let reply = request.body(body.clone()).send().await?.error_for_status()?;
        reply.bytes().await?;
    }
    Ok(())
}
