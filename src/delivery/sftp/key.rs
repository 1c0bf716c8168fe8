//! The two keys of SSH: the server's, which is pinned, and the user's, which is pasted.

use std::fmt;
use std::sync::Arc;

use russh::keys::ssh_key::Fingerprint;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey, PublicKey, decode_secret_key};

use crate::destinations::Secret;

/// What a server must show: its key, or the key's fingerprint.
#[derive(Clone)]
pub enum HostKey {
    Key(PublicKey),
    Fingerprint(Fingerprint),
}

/// The user's private key, deciphered.
#[derive(Clone)]
pub struct SshKey(pub(super) Arc<PrivateKey>);

/// A server has one key of each kind at most, and shows the one that it is asked for.
const ED25519: &[Algorithm] = &[Algorithm::Ed25519];
const ECDSA: &[Algorithm] = &[
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
];
const RSA: &[Algorithm] = &[
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];
const KINDS: [&[Algorithm]; 3] = [ED25519, ECDSA, RSA];

impl HostKey {
    /// `ssh-ed25519 AAAA…` as in a `.pub` file or a line of `known_hosts`, or `SHA256:…`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.starts_with("SHA256:") {
            return text.trim_end_matches('=').parse().ok().map(Self::Fingerprint);
        }
        let is_kind = |word: &str| word.starts_with("ssh-") || word.starts_with("ecdsa-");
        let mut words = text.split_whitespace().skip_while(|word| !is_kind(word));
        let (kind, key) = words.next().zip(words.next())?;
        PublicKey::from_openssh(&format!("{kind} {key}")).ok().map(Self::Key)
    }

    pub(super) fn is(&self, shown: &PublicKey) -> bool {
        match self {
            Self::Key(key) => key.key_data() == shown.key_data(),
            Self::Fingerprint(fingerprint) => *fingerprint == shown.fingerprint(HashAlg::Sha256),
        }
    }

    /// The kinds of keys of which it may be, each as the algorithms to ask the server for.
    pub(super) fn kinds(pinned: Option<&Self>) -> Vec<&'static [Algorithm]> {
        let Some(Self::Key(key)) = pinned else { return KINDS.to_vec() };
        let kind = KINDS
            .into_iter()
            .find(|kind| kind.iter().any(|algorithm| same_kind(algorithm, &key.algorithm())));
        kind.into_iter().collect()
    }
}

/// Whether a key of one is a key of the other; what is hashed how is no matter of the key.
fn same_kind(one: &Algorithm, other: &Algorithm) -> bool {
    matches!((one, other), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. })) || one == other
}

/// As `ssh-keygen -l` writes it.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

impl SshKey {
    /// A PEM file as it was pasted: with any line ends, or all in one line. What is wrong with it is
    /// said without quoting any of it.
    pub fn parse(pem: &Secret, passphrase: Option<&Secret>) -> Result<Self, &'static str> {
        let pem = normalised(pem.expose()).ok_or(
            "is not a private key: it must hold `-----BEGIN … PRIVATE KEY-----` and what follows",
        )?;
        let key = decode_secret_key(&pem, passphrase.map(Secret::expose));
        let key = key.map_err(|_| match passphrase {
            Some(_) => {
                "cannot be read: it is damaged, of an unknown kind, or `passphrase` is wrong"
            }
            None => "cannot be read: it is damaged, of an unknown kind, or needs a `passphrase`",
        })?;
        Ok(Self(Arc::new(key)))
    }
}

/// Lines as they were when the key was written. An environment variable or a form may have made other
/// line ends of them, or blanks, or the two characters `\n`.
fn normalised(pem: &str) -> Option<String> {
    let pem = pem.replace("\\r", "").replace("\\n", "\n");
    let pem = pem.trim();
    if pem.starts_with("PuTTY-User-Key-File-") {
        return Some(pem.replace("\r\n", "\n").replace('\r', "\n"));
    }
    let after = pem.split_once("-----BEGIN ")?.1;
    let (label, after) = after.split_once("-----")?;
    let (body, _) = after.split_once("-----END ")?;
    let (headers, body) = headed(body);
    let body: Vec<char> = body.chars().filter(|character| !character.is_whitespace()).collect();
    let lines: Vec<String> = body.chunks(64).map(|line| line.iter().collect()).collect();
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    Some(format!("{begin}\n{headers}{}\n{end}\n", lines.join("\n")))
}

/// The headers of an old, enciphered PEM (`Proc-Type: …`, `DEK-Info: …`) and the rest: the last word
/// of the headers names the cipher with its parameter.
fn headed(body: &str) -> (String, &str) {
    let Some((_, after)) = body.split_once("DEK-Info:") else { return (String::new(), body) };
    let after = after.trim_start();
    let end = after.find(char::is_whitespace).unwrap_or(after.len());
    let (cipher, rest) = after.split_at(end);
    (format!("Proc-Type: 4,ENCRYPTED\nDEK-Info: {cipher}\n\n"), rest)
}

impl fmt::Debug for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use russh::keys::key::safe_rng;
    use russh::keys::ssh_key::LineEnding;

    use super::*;

    fn made() -> PrivateKey {
        PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap()
    }

    fn read(pem: &str, passphrase: Option<&str>) -> Result<String, &'static str> {
        let key = SshKey::parse(&Secret::new(pem), passphrase.map(Secret::new).as_ref())?;
        Ok(fingerprint(key.0.public_key()))
    }

    #[test]
    fn a_key_is_read_however_it_was_pasted() {
        let key = made();
        let pem = key.to_openssh(LineEnding::LF).unwrap().to_string();
        let expected = Ok(fingerprint(key.public_key()));
        for pasted in [
            pem.clone(),
            pem.replace('\n', "\r\n"),
            pem.replace('\n', "\r"),
            pem.replace('\n', " "),
            pem.replace('\n', "\\n"),
            pem.replace('\n', "\\r\\n"),
            pem.trim().to_owned(),
            format!("\n  {}", pem.replace('\n', "\n  ")),
            pem.replace('\n', ""),
        ] {
            assert_eq!(read(&pasted, None), expected);
        }
    }

    #[test]
    fn an_enciphered_key_needs_its_passphrase() {
        let enciphered = made().encrypt(&mut safe_rng(), "open sesame").unwrap();
        let pem = enciphered.to_openssh(LineEnding::CRLF).unwrap().to_string();
        assert_eq!(read(&pem, Some("open sesame")), Ok(fingerprint(enciphered.public_key())));
        assert!(read(&pem, None).unwrap_err().contains("needs a `passphrase`"));
        assert!(read(&pem, Some("guess")).unwrap_err().contains("`passphrase` is wrong"));
        assert!(read("hush", None).unwrap_err().contains("is not a private key"));
        assert!(
            read("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", None).is_err()
        );
    }

    #[test]
    fn headers_of_old_keys_survive_being_one_line() {
        let one_line = "-----BEGIN RSA PRIVATE KEY----- Proc-Type: 4,ENCRYPTED DEK-Info: \
                        AES-128-CBC,00FF AAAA BBBB -----END RSA PRIVATE KEY-----";
        assert_eq!(
            normalised(one_line).unwrap(),
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: \
             AES-128-CBC,00FF\n\nAAAABBBB\n-----END RSA PRIVATE KEY-----\n"
        );
    }

    #[test]
    fn a_host_key_is_known_in_every_form_and_only_it() {
        let (key, other) = (made().public_key().clone(), made().public_key().clone());
        let line = key.to_openssh().unwrap();
        let forms = [
            line.clone(),
            format!("{line} root@host"),
            format!("[host.example]:2022 {line}\n"),
            fingerprint(&key),
            format!("{}=", fingerprint(&key)),
        ];
        for form in forms {
            let pinned = HostKey::parse(&form).unwrap();
            assert!(pinned.is(&key) && !pinned.is(&other), "{form}");
        }
        for form in ["", "SHA256:", "SHA256:abc", "MD5:00:11", "ssh-ed25519", "ssh-ed25519 AAAA"] {
            assert!(HostKey::parse(form).is_none(), "{form}");
        }
    }

    #[test]
    fn only_keys_of_the_pinned_kind_are_asked_for() {
        let pinned = HostKey::Key(made().public_key().clone());
        assert_eq!(HostKey::kinds(Some(&pinned)), [ED25519]);
        assert_eq!(HostKey::kinds(None).len(), 3);
    }
}
