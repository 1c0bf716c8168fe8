//! The one connection of a destination: opened when it is first needed, kept as long as it works, and
//! used by one errand at a time, since servers count sessions.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::sync::Mutex;

use super::super::request::{Request, Response};
use super::super::transport::Failure;
use super::connection::Connection;
use super::{Errand, FOLDER};

#[derive(Debug)]
pub(in super::super) struct Line {
    open: Mutex<Option<Connection>>,
    /// Longest wait for one reply.
    timeout: Duration,
}

/// How an errand ended without being done.
#[derive(Debug)]
pub(super) enum Setback {
    /// The server said no, for good: told as a reply.
    Refused(u16, String),
    Failed(Failure),
}

impl Line {
    pub(in super::super) fn new(timeout: Duration) -> Self {
        Self { open: Mutex::default(), timeout }
    }

    pub(in super::super) async fn exchange(
        &self,
        errand: &Errand,
        request: &Request,
    ) -> Result<Response, Failure> {
        // Whoever is dropped meanwhile takes the connection along: nobody knows how it stands.
        let mut open = self.open.lock().await;
        let done = match open.take().filter(Connection::is_usable) {
            Some(connection) => Ok(connection),
            None => Connection::open(&errand.server, self.timeout).await,
        };
        let done = match done {
            Ok(connection) => {
                let done = run(&connection, errand, request).await;
                if !matches!(done, Err(Setback::Failed(_))) {
                    *open = Some(connection);
                }
                done
            }
            Err(setback) => Err(setback),
        };
        match done {
            Ok((status, said)) | Err(Setback::Refused(status, said)) => {
                Ok(Response { status, headers: HeaderMap::new(), body: Bytes::from(said) })
            }
            Err(Setback::Failed(failure)) => Err(failure),
        }
    }
}

async fn run(
    connection: &Connection,
    errand: &Errand,
    request: &Request,
) -> Result<(u16, String), Setback> {
    if request.method == Method::GET {
        return connection.look(errand).await.map(|()| (200, FOLDER.to_owned()));
    }
    connection.put(errand, &request.body).await.map(|size| (201, size.to_string()))
}
