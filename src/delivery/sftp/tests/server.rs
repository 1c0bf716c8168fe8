//! An SFTP server on the loopback interface that keeps its files in memory and misbehaves as told. It
//! runs in a thread of its own with its own runtime, so that whole runs can be tested against it too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use russh::keys::key::safe_rng;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Config, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, MethodKind, MethodSet};
use russh_sftp::protocol::{
    Attrs, FileAttributes, Handle, OpenFlags, Packet, Status, StatusCode, Version,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

/// Longer than anything here takes on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(60);
const RENAME: &str = "posix-rename@openssh.com";
const FSYNC: &str = "fsync@openssh.com";

/// What happens instead, the next time that something is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trouble {
    /// The connection is gone, and nothing was done.
    Cut,
    /// It was done, and the connection is gone.
    Done,
    /// Code 4, as of a full disk.
    Failure,
    /// Nothing was done, and no answer ever comes.
    Silence,
}

/// What there is and who may come in; to be overwritten.
pub struct Setup {
    pub password: &'static str,
    pub user_key: Option<PublicKey>,
    /// The password is asked for instead of being sent.
    pub asks: bool,
    /// `posix-rename` and `fsync` are offered.
    pub extensions: bool,
    pub host_keys: Vec<Algorithm>,
    pub folders: &'static [&'static str],
    /// Nothing may be written below it.
    pub locked: Option<&'static str>,
    pub troubles: Vec<(&'static str, Trouble)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            password: "hush-PASSWORD",
            user_key: None,
            asks: false,
            extensions: true,
            host_keys: vec![Algorithm::Ed25519],
            folders: &["drop"],
            locked: None,
            troubles: Vec::new(),
        }
    }
}

/// What lies there, and what was asked for.
#[derive(Debug, Default)]
pub struct Held {
    pub files: BTreeMap<String, Vec<u8>>,
    pub folders: BTreeSet<String>,
    /// Such as `rename drop/.a.tmp drop/a`; packets that carry data are told once.
    pub asked: Vec<String>,
    /// TCP connections that were made.
    pub connections: usize,
    pub logins: usize,
    /// Passwords that were sent, right or wrong.
    pub passwords: Vec<String>,
    locked: Option<String>,
    troubles: Vec<(&'static str, Trouble)>,
}

pub struct SftpTwin {
    pub port: u16,
    pub host_keys: Vec<PublicKey>,
    held: Arc<Mutex<Held>>,
    #[allow(dead_code, reason = "only whole runs are watched from another thread")]
    heard: Receiver<String>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SftpTwin {
    pub fn start(setup: Setup) -> Self {
        let keys = setup.host_keys.iter().cloned();
        let keys: Vec<_> =
            keys.map(|kind| PrivateKey::random(&mut safe_rng(), kind).unwrap()).collect();
        let host_keys = keys.iter().map(|key| key.public_key().clone()).collect();
        let held = Held {
            folders: setup.folders.iter().map(|folder| (*folder).to_owned()).collect(),
            locked: setup.locked.map(Into::into),
            troubles: setup.troubles.clone(),
            ..Held::default()
        };
        let held = Arc::new(Mutex::new(held));
        let config = Config {
            keys,
            auth_rejection_time: Duration::ZERO,
            auth_rejection_time_initial: Some(Duration::ZERO),
            ..Config::default()
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = oneshot::channel();
        let (hear, heard) = channel();
        let serving = Serving { setup, held: Arc::clone(&held), hear, config: Arc::new(config) };
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(async {
                let serve = serving.serve(TcpListener::from_std(listener).unwrap());
                tokio::select! { () = serve => {}, _ = stopped => {} }
            });
        });
        Self { port, host_keys, held, heard, stop: Some(stop), thread: Some(thread) }
    }

    pub fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap()
    }

    /// Path and text of every file.
    pub fn files(&self) -> BTreeMap<String, String> {
        let text = |(path, bytes): (&String, &Vec<u8>)| {
            (path.clone(), String::from_utf8_lossy(bytes).into_owned())
        };
        self.held().files.iter().map(text).collect()
    }

    pub fn fingerprint(&self) -> String {
        self.host_keys[0].fingerprint(HashAlg::Sha256).to_string()
    }

    /// Waits until something with this word in it is asked for.
    #[allow(dead_code, reason = "only whole runs are watched from another thread")]
    pub fn hears(&self, word: &str) {
        while !self.heard.recv_timeout(DEADLINE).unwrap().contains(word) {}
    }

    /// This happens once, to what is next asked for with all of these words in it.
    pub fn trouble(&self, asked: &'static str, trouble: Trouble) {
        self.held().troubles.push((asked, trouble));
    }
}

impl Drop for SftpTwin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Serving {
    hear: Sender<String>,
    setup: Setup,
    held: Arc<Mutex<Held>>,
    config: Arc<Config>,
}

impl Serving {
    async fn serve(self, listener: TcpListener) {
        let mut tasks = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            self.held.lock().unwrap().connections += 1;
            let (near, far) = tokio::io::duplex(1 << 16);
            let cut = Arc::new(Notify::new());
            tasks.spawn(forward(stream, near, Arc::clone(&cut)));
            let visitor = Visitor {
                password: self.setup.password,
                user_key: self.setup.user_key.clone(),
                asks: self.setup.asks,
                files: Files {
                    held: Arc::clone(&self.held),
                    hear: self.hear.clone(),
                    cut,
                    extensions: self.setup.extensions,
                    open: HashMap::new(),
                },
                channels: HashMap::new(),
            };
            let config = Arc::clone(&self.config);
            tasks.spawn(async move {
                if let Ok(session) = russh::server::run_stream(config, far, visitor).await {
                    let _ = session.await;
                }
            });
        }
    }
}

/// Everything goes through here, so that a connection can be cut.
async fn forward(mut stream: TcpStream, mut near: tokio::io::DuplexStream, cut: Arc<Notify>) {
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut stream, &mut near) => {}
        () = cut.notified() => {}
    }
}

struct Visitor {
    password: &'static str,
    user_key: Option<PublicKey>,
    asks: bool,
    files: Files,
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl Visitor {
    fn judged(&self, right: bool, instead: MethodKind) -> Auth {
        if right {
            self.files.held.lock().unwrap().logins += 1;
            return Auth::Accept;
        }
        let proceed_with_methods = Some(MethodSet::from(&[instead][..]));
        Auth::Reject { proceed_with_methods, partial_success: false }
    }
}

impl russh::server::Handler for Visitor {
    type Error = russh::Error;

    async fn auth_password(&mut self, _: &str, password: &str) -> Result<Auth, Self::Error> {
        self.files.held.lock().unwrap().passwords.push(password.to_owned());
        let right = password == self.password && !self.asks && self.user_key.is_none();
        let instead =
            if self.asks { MethodKind::KeyboardInteractive } else { MethodKind::PublicKey };
        Ok(self.judged(right, instead))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<russh::server::Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let Some(mut answers) = response else {
            return Ok(Auth::Partial {
                name: "".into(),
                instructions: "".into(),
                prompts: vec![("Password: ".into(), false)].into(),
            });
        };
        let right = answers.next().is_some_and(|answer| *answer == *self.password.as_bytes());
        Ok(self.judged(right && self.asks, MethodKind::KeyboardInteractive))
    }

    async fn auth_publickey(
        &mut self,
        _: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let right =
            self.user_key.as_ref().is_some_and(|user| user.key_data() == key.public_key.key_data());
        Ok(self.judged(right, MethodKind::Password))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(channel) = self.channels.remove(&id).filter(|_| name == "sftp") else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        russh_sftp::server::run(channel.into_stream(), self.files.clone()).await;
        Ok(())
    }
}

/// One visitor's view of what is held.
#[derive(Clone)]
struct Files {
    held: Arc<Mutex<Held>>,
    hear: Sender<String>,
    cut: Arc<Notify>,
    extensions: bool,
    /// Paths of open files.
    open: HashMap<String, String>,
}

impl Files {
    /// Tells what is asked for; `Some` where it goes wrong.
    async fn asked(&self, what: &str, about: &str) -> Result<bool, StatusCode> {
        let trouble = {
            let mut held = self.held.lock().unwrap();
            let told = format!("{what} {about}");
            let meant = |asked: &str| asked.split(' ').all(|word| told.contains(word));
            let at = held.troubles.iter().position(|(asked, _)| meant(asked));
            if held.asked.last() != Some(&told) {
                held.asked.push(told.clone());
            }
            // Nobody needs to listen.
            let _ = self.hear.send(told);
            at.map(|at| held.troubles.remove(at).1)
        };
        match trouble {
            None => Ok(false),
            Some(Trouble::Failure) => Err(StatusCode::Failure),
            Some(Trouble::Done) => Ok(true),
            Some(Trouble::Cut) => self.cut().await,
            Some(Trouble::Silence) => std::future::pending().await,
        }
    }

    async fn cut<T>(&self) -> T {
        self.cut.notify_one();
        std::future::pending().await
    }

    fn place(path: &str) -> String {
        path.trim_start_matches("./").trim_end_matches('/').to_owned()
    }

    fn may(held: &Held, path: &str) -> Result<(), StatusCode> {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if !parent.is_empty() && !held.folders.contains(parent) {
            return Err(StatusCode::NoSuchFile);
        }
        let locked = held.locked.as_ref().is_some_and(|locked| path.starts_with(locked.as_str()));
        if locked { Err(StatusCode::PermissionDenied) } else { Ok(()) }
    }

    async fn renamed(&self, from: &str, to: &str, replaces: bool) -> Result<(), StatusCode> {
        let what = if replaces { "posix-rename" } else { "rename" };
        let vanishes = self.asked(what, &format!("{from} {to}")).await?;
        {
            let mut held = self.held.lock().unwrap();
            if !replaces && held.files.contains_key(to) {
                return Err(StatusCode::Failure);
            }
            let bytes = held.files.remove(from).ok_or(StatusCode::NoSuchFile)?;
            held.files.insert(to.to_owned(), bytes);
        }
        if vanishes { self.cut().await } else { Ok(()) }
    }
}

fn done(id: u32) -> Status {
    Status {
        id,
        status_code: StatusCode::Ok,
        error_message: "Ok".into(),
        language_tag: "en".into(),
    }
}

/// The texts that an extension carries.
fn texts(mut data: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk::<4>() {
        let (text, after) = rest.split_at(u32::from_be_bytes(*length) as usize);
        texts.push(String::from_utf8_lossy(text).into_owned());
        data = after;
    }
    texts
}

impl russh_sftp::server::Handler for Files {
    type Error = StatusCode;

    fn unimplemented(&self) -> Self::Error {
        StatusCode::OpUnsupported
    }

    async fn init(&mut self, _: u32, _: HashMap<String, String>) -> Result<Version, Self::Error> {
        let mut version = Version::new();
        if self.extensions {
            version.extensions.extend([RENAME, FSYNC].map(|name| (name.into(), "1".into())));
        }
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        path: String,
        flags: OpenFlags,
        _: FileAttributes,
    ) -> Result<Handle, Self::Error> {
        self.asked("open", &path).await?;
        let path = Self::place(&path);
        let mut held = self.held.lock().unwrap();
        Self::may(&held, &path)?;
        assert!(flags.contains(OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::WRITE));
        held.files.insert(path.clone(), Vec::new());
        let handle = format!("h{}", self.open.len());
        self.open.insert(handle.clone(), path);
        Ok(Handle { id, handle })
    }

    async fn write(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        data: Vec<u8>,
    ) -> Result<Status, Self::Error> {
        let path = self.open.get(&handle).cloned().ok_or(StatusCode::Failure)?;
        let offset = usize::try_from(offset).unwrap();
        // The first packet of a file arrives, whatever happens then.
        if offset > 0 {
            self.asked("write", &path).await?;
        }
        let mut held = self.held.lock().unwrap();
        let file = held.files.get_mut(&path).ok_or(StatusCode::NoSuchFile)?;
        file.resize(file.len().max(offset + data.len()), 0);
        file[offset..offset + data.len()].copy_from_slice(&data);
        Ok(done(id))
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, Self::Error> {
        let path = self.open.get(&handle).cloned().ok_or(StatusCode::Failure)?;
        let held = self.held.lock().unwrap();
        let size = held.files.get(&path).map(|file| file.len() as u64);
        Ok(Attrs { id, attrs: FileAttributes { size, ..FileAttributes::empty() } })
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, Self::Error> {
        self.open.remove(&handle).ok_or(StatusCode::Failure)?;
        Ok(done(id))
    }

    async fn remove(&mut self, id: u32, path: String) -> Result<Status, Self::Error> {
        self.asked("remove", &path).await?;
        let removed = self.held.lock().unwrap().files.remove(&Self::place(&path));
        removed.map(|_| done(id)).ok_or(StatusCode::NoSuchFile)
    }

    async fn mkdir(
        &mut self,
        id: u32,
        path: String,
        _: FileAttributes,
    ) -> Result<Status, Self::Error> {
        self.asked("mkdir", &path).await?;
        let path = Self::place(&path);
        let mut held = self.held.lock().unwrap();
        Self::may(&held, &path)?;
        held.folders.insert(path).then(|| done(id)).ok_or(StatusCode::Failure)
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, Self::Error> {
        self.asked("stat", &path).await?;
        let (place, held) = (Self::place(&path), self.held.lock().unwrap());
        if held.files.contains_key(&place) {
            let permissions = Some(0o100_644);
            return Ok(Attrs {
                id,
                attrs: FileAttributes { permissions, ..FileAttributes::empty() },
            });
        }
        if place != "." && !held.folders.contains(&place) {
            return Err(StatusCode::NoSuchFile);
        }
        let permissions = Some(0o040_755);
        Ok(Attrs { id, attrs: FileAttributes { permissions, ..FileAttributes::empty() } })
    }

    async fn rename(&mut self, id: u32, from: String, to: String) -> Result<Status, Self::Error> {
        self.renamed(&Self::place(&from), &Self::place(&to), false).await.map(|()| done(id))
    }

    async fn extended(
        &mut self,
        id: u32,
        name: String,
        data: Vec<u8>,
    ) -> Result<Packet, Self::Error> {
        match (&name[..], &texts(&data)[..]) {
            (RENAME, [from, to]) if self.extensions => {
                self.renamed(&Self::place(from), &Self::place(to), true).await?;
            }
            (FSYNC, [handle]) if self.extensions && self.open.contains_key(handle) => {
                let path = self.open[handle].clone();
                self.asked("fsync", &path).await?;
            }
            _ => return Err(StatusCode::OpUnsupported),
        }
        Ok(done(id).into())
    }
}
