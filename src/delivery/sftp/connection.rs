//! From a host name to a server that takes files: connect, compare the host key, prove who comes, ask
//! for SFTP.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse as Prompted};
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{AlgorithmKind, ChannelMsg, MethodKind, MethodSet, Preferred, SshId};
use russh_sftp::client::{Config, RawSftpSession};

use super::super::transport::{Failure, LONGEST_CONNECT};
use super::key::{HostKey, SshKey, fingerprint};
use super::line::Setback;
use super::{Login, Proof, SftpServer};

/// A server that takes files.
pub(super) struct Connection {
    pub(super) sftp: RawSftpSession,
    /// Renames that take the place of what is there.
    pub(super) replaces: bool,
    /// Can be told to write to disk.
    pub(super) flushes: bool,
    handle: Handle<Doorkeeper>,
}

/// Lets in whoever shows the pinned key.
struct Doorkeeper {
    pinned: Option<HostKey>,
    /// What was shown instead.
    shown: Arc<Mutex<Option<PublicKey>>>,
}

impl client::Handler for Doorkeeper {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else { return Ok(false) };
        if self.pinned.as_ref().is_some_and(|pinned| pinned.is(key)) {
            return Ok(true);
        }
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.clone());
        Ok(false)
    }
}

/// Nothing was sent, and trying again may help.
pub(super) fn unsent(reason: impl fmt::Display) -> Setback {
    Setback::Failed(Failure::NotSent(reason.to_string()))
}

impl Connection {
    pub(super) fn is_usable(&self) -> bool {
        !self.handle.is_closed()
    }

    pub(super) async fn open(server: &SftpServer, timeout: Duration) -> Result<Self, Setback> {
        let late = |_| unsent(format!("`{}` did not reply in time", server.address()));
        let mut handle = met(server, timeout).await?;
        let opened = async {
            prove(&mut handle, &server.login).await?;
            started(handle, timeout).await
        };
        tokio::time::timeout(timeout, opened).await.map_err(late)?
    }
}

/// A server that has shown the pinned host key. Where only its fingerprint is known, the server is
/// asked for its keys one after the other.
async fn met(server: &SftpServer, timeout: Duration) -> Result<Handle<Doorkeeper>, Setback> {
    let mut shown = Vec::new();
    for kind in HostKey::kinds(server.host_key.as_ref()) {
        let seen = Arc::default();
        let doorkeeper = Doorkeeper { pinned: server.host_key.clone(), shown: Arc::clone(&seen) };
        match greeted(server, kind, doorkeeper, timeout).await? {
            Ok(handle) => return Ok(handle),
            Err(russh::Error::NoCommonAlgo { kind: AlgorithmKind::Key, .. }) => {}
            Err(error) => {
                let key = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
                shown.push(key.ok_or_else(|| ungreeted(server, &error))?);
            }
        }
    }
    Err(Setback::Refused(421, unknown(server, &shown)))
}

async fn greeted(
    server: &SftpServer,
    kind: &'static [Algorithm],
    doorkeeper: Doorkeeper,
    timeout: Duration,
) -> Result<Result<Handle<Doorkeeper>, russh::Error>, Setback> {
    let late = |_| unsent(format!("`{}` did not reply in time", server.address()));
    let address = (server.host.as_str(), server.port);
    let connect = tokio::net::TcpStream::connect(address);
    let soon = LONGEST_CONNECT.min(timeout / 2);
    let stream = tokio::time::timeout(soon, connect).await.map_err(late)?;
    let stream = stream
        .map_err(|error| unsent(format!("could not connect to `{}`: {error}", server.address())))?;
    // Small packets wait for no others; without it the connection works as well.
    let _ = stream.set_nodelay(true);
    let config = client::Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!(
            "SSH-2.0-muster_",
            env!("CARGO_PKG_VERSION")
        ))),
        preferred: Preferred { key: Cow::Borrowed(kind), ..Preferred::DEFAULT },
        ..client::Config::default()
    };
    let greeting = client::connect_stream(Arc::new(config), stream, doorkeeper);
    tokio::time::timeout(timeout, greeting).await.map_err(late)
}

/// Why there is no connection, where it is not the host key.
fn ungreeted(server: &SftpServer, error: &russh::Error) -> Setback {
    let reason = format!("no SSH connection to `{}`: {error}", server.address());
    match error {
        russh::Error::NoCommonAlgo { .. } => Setback::Refused(405, reason),
        _ => unsent(reason),
    }
}

/// What the server showed in place of the pinned key, and how to pin it.
fn unknown(server: &SftpServer, shown: &[PublicKey]) -> String {
    let address = server.address();
    let Some(first) = shown.first() else {
        return format!(
            "the server at `{address}` has no host key of the kind that `host_key` pins; nothing was \
             sent to it"
        );
    };
    let each = shown.iter();
    let each = each.map(|key| format!("the host key `{}` ({})", fingerprint(key), key.algorithm()));
    let each = each.collect::<Vec<_>>().join(", ");
    let whole = first.to_openssh().unwrap_or_default();
    let why = match server.host_key {
        Some(_) => "which `host_key` does not pin",
        None => "and no `host_key` is pinned",
    };
    format!(
        "the server at `{address}` showed {each}, {why}; nothing was sent to it. If whoever \
         runs the server says that this is its key, write `host_key = \"{}\"` or `host_key = \
         \"{whole}\"`",
        fingerprint(first),
    )
}

async fn prove(handle: &mut Handle<Doorkeeper>, login: &Login) -> Result<(), Setback> {
    let lost =
        |error: russh::Error| unsent(format!("lost the connection while logging in: {error}"));
    let user = &login.user;
    let (what, result) = match &login.proof {
        Proof::Key(key) => ("key", by_key(handle, user, key).await.map_err(lost)?),
        Proof::Password(password) => {
            ("password", by_password(handle, user, password.expose()).await.map_err(lost)?)
        }
    };
    let AuthResult::Failure { remaining_methods, partial_success } = result else {
        return Ok(());
    };
    if remaining_methods.is_empty() && handle.is_closed() {
        return Err(unsent("the server closed the connection while logging in"));
    }
    let wants = methods(&remaining_methods);
    let reason = if partial_success {
        format!("the server takes the {what} of `{user}` but wants another proof as well: {wants}")
    } else {
        format!("the server refused the {what} of `{user}`; it takes: {wants}")
    };
    Err(Setback::Refused(401, reason))
}

fn methods(methods: &MethodSet) -> String {
    let names = methods.iter().map(<&str>::from);
    let names = names.collect::<Vec<_>>().join(", ");
    if names.is_empty() { "nothing".to_owned() } else { names }
}

async fn by_key(
    handle: &mut Handle<Doorkeeper>,
    user: &str,
    SshKey(key): &SshKey,
) -> Result<AuthResult, russh::Error> {
    let hash = match key.algorithm() {
        Algorithm::Rsa { .. } => {
            let supported = handle.best_supported_rsa_hash().await?;
            supported.unwrap_or(Some(HashAlg::Sha256))
        }
        _ => None,
    };
    let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
    handle.authenticate_publickey(user, key).await
}

async fn by_password(
    handle: &mut Handle<Doorkeeper>,
    user: &str,
    password: &str,
) -> Result<AuthResult, russh::Error> {
    let result = handle.authenticate_password(user, password).await?;
    match &result {
        AuthResult::Failure { remaining_methods, partial_success: false }
            if remaining_methods.contains(&MethodKind::KeyboardInteractive)
                && !remaining_methods.contains(&MethodKind::Password) =>
        {
            asked(handle, user, password).await
        }
        _ => Ok(result),
    }
}

/// Some servers only ask for the password instead of having it sent: it is the answer to one hidden
/// question. Where it can be sent, it was, and is not given twice.
async fn asked(
    handle: &mut Handle<Doorkeeper>,
    user: &str,
    password: &str,
) -> Result<AuthResult, russh::Error> {
    let mut answers = vec![password.to_owned()];
    let mut prompted = handle.authenticate_keyboard_interactive_start(user, None).await?;
    loop {
        let prompts = match prompted {
            Prompted::Success => return Ok(AuthResult::Success),
            Prompted::Failure { remaining_methods, partial_success } => {
                return Ok(AuthResult::Failure { remaining_methods, partial_success });
            }
            Prompted::InfoRequest { prompts, .. } => prompts,
        };
        let given = match prompts.as_slice() {
            [] => Vec::new(),
            [one] if !one.echo && !answers.is_empty() => std::mem::take(&mut answers),
            _ => {
                let remaining_methods = MethodSet::from(&[MethodKind::KeyboardInteractive][..]);
                return Ok(AuthResult::Failure { remaining_methods, partial_success: false });
            }
        };
        prompted = handle.authenticate_keyboard_interactive_respond(given).await?;
    }
}

/// Asks for SFTP on a channel of its own.
async fn started(handle: Handle<Doorkeeper>, timeout: Duration) -> Result<Connection, Setback> {
    let lost = |error: russh::Error| unsent(format!("the server opened no channel: {error}"));
    let mut channel = handle.channel_open_session().await.map_err(lost)?;
    channel.request_subsystem(true, "sftp").await.map_err(lost)?;
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => break,
            Some(ChannelMsg::Failure) => {
                return Err(Setback::Refused(405, "the server offers no SFTP".into()));
            }
            Some(_) => {}
            None => return Err(unsent("the server closed the channel")),
        }
    }
    let config = Config { request_timeout_secs: timeout.as_secs().max(1), ..Config::default() };
    let sftp = RawSftpSession::new_with_config(channel.into_stream(), config);
    let unready = |error| unsent(format!("the server speaks no SFTP that is understood: {error}"));
    let offered = sftp.init().await.map_err(unready)?.extensions;
    let replaces = offered.contains_key(super::upload::POSIX_RENAME);
    let flushes = offered.contains_key(russh_sftp::extensions::FSYNC);
    Ok(Connection { sftp, replaces, flushes, handle })
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}
