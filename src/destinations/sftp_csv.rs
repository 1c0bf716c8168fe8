//! CSV files on a server that is spoken to over SFTP. A file has another name until it is whole.

use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::drop::{self, Choice, Delimiter, FileDrop, Storage, notes};
use super::membership::{self, COUNTRY};
use super::{Built, CONNECTION_OPTIONS, Common, Entry, Fault, OptionDoc, Reader, Secret, Spec};
use crate::delivery::{HostKey, Login, Proof, Request, SftpServer, SshKey};
use crate::finding::Finding;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: CONNECTION_OPTIONS, configure };

/// What is known of files on a server.
pub static SPEC: Spec = Spec {
    kind: "sftp_csv",
    title: "SFTP CSV files",
    summary: "Writes CSV files of added and of removed members to a server over SFTP.",
    // Servers count sessions: one connection, one file at a time.
    concurrency: 1,
    example: r#"[destinations.drop]
type = "sftp_csv"
host = "sftp.example.com"
host_key = "SHA256:LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE"
user = "acme"
password = "${SFTP_PASSWORD}"
folder = "audiences"
"#,
    notes: &[
        "Files are called `<folder>/<list>/added/<run>-<row>.csv` and `…/removed/…`, where the list is the sync's `list`, else the model's key.",
        "A file is called `.<name>.tmp` until it is whole; then it is renamed, and takes the place of an earlier one of its name. Where the server has no `posix-rename@openssh.com`, that one is removed first.",
        "`folder` must exist; the folders of lists below it are made.",
        "Nothing is sent to a server whose host key is not `host_key`, and no key is taken on trust: leave `host_key` out, and `muster destinations --test NAME` says which keys the server shows and how to pin one; until then nothing is sent.",
        "One connection for all files of a destination, and one file at a time; `timeout` is the longest wait for one reply of the server, not for a whole file.",
        "Password or private key (OpenSSH, PEM or PuTTY; Ed25519, ECDSA or RSA), not both; servers that want two proofs are not supported.",
        "A connection that is lost while a file is written leaves its `.<name>.tmp` behind; files are never deleted otherwise, so tidy up on the server.",
        notes::FIRST_RUN,
        notes::ORDER,
        notes::AGAIN,
        notes::MANIFEST,
        notes::INTERRUPTED,
        notes::REPLACE,
        notes::COLUMNS,
        notes::TOLD_APART,
        notes::REMOVED,
        notes::FORMS,
        notes::FORMULAS,
        "Files are not enciphered: on the way SSH does it, at rest the server must.",
    ],
    ..drop::SPEC
};

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::required("host", "name or address of the server"),
    OptionDoc::optional("port", "default 22"),
    OptionDoc::optional(
        "host_key",
        "the server's key, \"ssh-ed25519 AAAA…\" or \"SHA256:…\"; nothing is sent without it",
    ),
    OptionDoc::required("user", "who logs in"),
    OptionDoc::optional("password", "this or `private_key` is required"),
    OptionDoc::optional("private_key", "the PEM text of the key, with any line ends or none"),
    OptionDoc::optional("passphrase", "deciphers `private_key`"),
    OptionDoc::optional("folder", "an existing folder; default: where the login starts"),
    drop::MATCH_BY,
    drop::HASH,
    drop::USER_ID,
    drop::DELIMITER,
    COUNTRY,
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    host: String,
    #[serde(default = "ssh", deserialize_with = "port")]
    port: u16,
    host_key: Option<String>,
    user: String,
    password: Option<Secret>,
    private_key: Option<Secret>,
    passphrase: Option<Secret>,
    #[serde(default)]
    folder: String,
    #[serde(default, deserialize_with = "membership::several")]
    match_by: Option<Vec<String>>,
    #[serde(default)]
    hash: Vec<String>,
    #[serde(default = "crate::destinations::options::yes")]
    user_id: bool,
    #[serde(default)]
    delimiter: Delimiter,
    country: Option<String>,
}

const fn ssh() -> u16 {
    22
}

fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let value = toml::Value::deserialize(deserializer)?;
    let port = value.as_integer().and_then(|port| u16::try_from(port).ok());
    port.filter(|port| *port > 0).ok_or_else(|| D::Error::custom("expected a port, 1 to 65535"))
}

/// A folder on a server.
struct Folder {
    server: Arc<SftpServer>,
}

fn configure(reader: &Reader<'_>, _common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    let choice = Choice {
        match_by: options.match_by.as_deref(),
        hash: &options.hash,
        user_id: options.user_id,
        delimiter: options.delimiter,
    };
    let fields = drop::fields(reader, &choice)?;
    let country = membership::country(reader, options.country.clone())?;
    let files = FileDrop::new(Folder { server: place(reader, &options)? }, &fields, &choice);
    let Options { password, private_key, passphrase, .. } = options;
    let secrets = [password, private_key, passphrase].into_iter().flatten().collect();
    Ok(Built::new(Arc::new(files), secrets).matching(fields).in_country(country))
}

fn place(reader: &Reader<'_>, options: &Options) -> Result<Arc<SftpServer>, Vec<Finding>> {
    let refuse = |option: &str, fact: &str| vec![reader.refuse(option, fact)];
    if drop::climbs(&options.folder) {
        return Err(refuse("folder", "must not hold `.` or `..` as a folder"));
    }
    let host_key = match options.host_key.as_deref().map(HostKey::parse) {
        None => None,
        Some(Some(host_key)) => Some(host_key),
        Some(None) => {
            let fact = "is no host key: write the server's line of `known_hosts` or its \
                        fingerprint, \"SHA256:…\"";
            return Err(refuse("host_key", fact));
        }
    };
    let login = Login { user: options.user.clone(), proof: proof(reader, options)? };
    let address = (options.host.as_str(), options.port);
    let server = SftpServer::new(address, host_key, login, &options.folder);
    server.map(Arc::new).ok_or_else(|| {
        refuse("host", "is not the name or the address of a server, such as \"sftp.example.com\"")
    })
}

fn proof(reader: &Reader<'_>, options: &Options) -> Result<Proof, Vec<Finding>> {
    let refuse = |option: &str, fact: &str| vec![reader.refuse(option, fact)];
    let Options { password, private_key, passphrase, .. } = options;
    match (password, private_key) {
        (Some(_), Some(_)) => Err(refuse("password", "has no meaning beside `private_key`")),
        (None, None) => Err(refuse("password", "is missing, and so is `private_key`; write one")),
        (Some(_), None) if passphrase.is_some() => {
            Err(refuse("passphrase", "has no meaning without `private_key`"))
        }
        (Some(password), None) => Ok(Proof::Password(password.clone())),
        (None, Some(pem)) => SshKey::parse(pem, passphrase.as_ref())
            .map(Proof::Key)
            .map_err(|fact| refuse("private_key", fact)),
    }
}

impl Storage for Folder {
    /// Relative to `folder`: whoever fetches the files may see that from elsewhere.
    fn key(&self, path: &[&str]) -> String {
        let parts = path.iter().flat_map(|part| part.split('/')).filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join("/")
    }

    fn put(
        &self,
        path: &[&str],
        content_type: &'static str,
        body: Vec<u8>,
    ) -> Result<Request, Fault> {
        self.server.put(path, content_type, body.into()).ok_or_else(nowhere)
    }

    fn probe(&self) -> Result<Request, Fault> {
        self.server.look().ok_or_else(nowhere)
    }
}

fn nowhere() -> Fault {
    Fault::Misconfigured { reason: "the file has no address".into() }
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::server;
