//! Files over SFTP: the only place that makes an SSH client.
//!
//! To everybody else an upload is a request like any other, `PUT sftp://host:22/folder/name`, and what
//! the server says of it is told in the words of HTTP, as a gateway would: 201 for a file that is there,
//! 401 for credentials and 421 for a host key that are not right, 403, 404 and 405 for what the server
//! refuses for good. So quota, gate, retries, journal and rehearsal know one kind of request only.
//!
//! What it promises: nothing of the user is shown to a server whose host key is not the pinned one, and
//! no key is ever trusted because it was seen first; a file is under its name as a whole or not at all,
//! and a repeated upload takes its place; as long as the file was not renamed, a failure says that it is
//! certainly not there. It never lists or reads what lies there, and deletes only what it wrote itself.

mod connection;
mod key;
mod line;
mod upload;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use url::Url;

use super::auth::Authority;
use super::request::{Request, Response, standard};
use crate::destinations::{Fault, Secret};

pub use key::{HostKey, SshKey};
pub(super) use line::Line;

/// A server, and the folder on it below which files are put.
pub struct SftpServer {
    host: String,
    port: u16,
    /// Without one nothing is sent: whoever tries is told what the server shows.
    host_key: Option<HostKey>,
    login: Login,
    /// Relative to where the login starts, unless it begins with `/`; must exist.
    folder: String,
}

/// Who comes, and by what this is proven.
pub struct Login {
    pub user: String,
    pub proof: Proof,
}

pub enum Proof {
    Password(Secret),
    Key(SshKey),
}

/// What is to be done at a server: put a file there, or look whether its folder is there.
#[derive(Debug, Clone)]
pub struct Errand {
    server: Arc<SftpServer>,
    /// Below the server's folder; empty for the folder itself.
    path: Vec<String>,
}

impl SftpServer {
    /// `None` where the host is none.
    pub fn new(
        (host, port): (&str, u16),
        host_key: Option<HostKey>,
        login: Login,
        folder: &str,
    ) -> Option<Self> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_numeric = bare.parse::<std::net::Ipv6Addr>().is_ok();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let is_usable = is_numeric || (!bare.is_empty() && bare.bytes().all(is_name));
        let folder = match folder.trim_end_matches('/') {
            "" if folder.starts_with('/') => "/",
            folder => folder,
        };
        let (host, folder) = (bare.to_owned(), folder.to_owned());
        let server = Self { host, port, host_key, login, folder };
        (is_usable && server.url(&[]).is_some()).then_some(server)
    }

    /// The upload of one file below the folder; folders on the way are made.
    pub fn put(
        self: &Arc<Self>,
        path: &[&str],
        content_type: &'static str,
        body: Bytes,
    ) -> Option<Request> {
        Some(self.request(Method::PUT, path)?.body(content_type, body).reading(stored))
    }

    /// Whether the folder is there; changes nothing.
    pub fn look(self: &Arc<Self>) -> Option<Request> {
        Some(self.request(Method::GET, &[])?.reading(found))
    }

    fn request(self: &Arc<Self>, method: Method, path: &[&str]) -> Option<Request> {
        let path = path.iter().flat_map(|part| part.split('/')).filter(|part| !part.is_empty());
        let path: Vec<String> = path.map(ToOwned::to_owned).collect();
        let mut request = Request::new(method, self.url(&path)?);
        let server = Arc::clone(self);
        request.authority = Some(Authority::Sftp(Errand { server, path }));
        Some(request)
    }

    /// How it is shown; the folder in which the login starts is `~`.
    fn url(&self, path: &[String]) -> Option<Url> {
        let mut url = Url::parse(&format!("sftp://{}/", self.address())).ok()?;
        let start = if self.folder.starts_with('/') { None } else { Some("~") };
        let folders = self.folder.split('/').filter(|part| !part.is_empty());
        let parts = start.into_iter().chain(folders).chain(path.iter().map(String::as_str));
        url.path_segments_mut().ok()?.clear().extend(parts);
        Some(url)
    }

    /// Host and port as people write them.
    fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// What the server says when its folder is looked for and there.
const FOLDER: &str = "a folder";

/// A file is there when the server has said how large it is there.
fn stored(response: &Response) -> Result<(), Fault> {
    granted(response)?;
    let size = std::str::from_utf8(&response.body).ok().and_then(|size| size.parse::<u64>().ok());
    match (response.status, size) {
        (201, Some(_)) => Ok(()),
        _ => Err(Fault::Protocol { reason: format!("{} in place of a size", response.reason()) }),
    }
}

fn found(response: &Response) -> Result<(), Fault> {
    granted(response)?;
    if response.status == 200 && response.body == FOLDER {
        return Ok(());
    }
    Err(Fault::Protocol { reason: format!("{} in place of a folder", response.reason()) })
}

/// What is refused is told in the body as a whole, and is never about what a file holds.
fn granted(response: &Response) -> Result<(), Fault> {
    let reason = || String::from_utf8_lossy(&response.body).into_owned();
    match (response.status, standard(response)) {
        (401 | 403 | 421, _) => Err(Fault::Denied { reason: reason() }),
        (404 | 405, _) | (_, Err(Fault::Rejected { .. })) => {
            Err(Fault::Misconfigured { reason: reason() })
        }
        (_, other) => other,
    }
}

impl Errand {
    /// The folder on the server, and the folders and the file below it.
    fn paths(&self) -> Vec<String> {
        let mut at = self.server.folder.clone();
        let mut paths = vec![if at.is_empty() { ".".to_owned() } else { at.clone() }];
        for part in &self.path {
            if !at.is_empty() && !at.ends_with('/') {
                at.push('/');
            }
            at.push_str(part);
            paths.push(at.clone());
        }
        paths
    }
}

/// Neither who comes nor by what it is proven.
impl fmt::Debug for SftpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SftpServer")
            .field("address", &self.address())
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
