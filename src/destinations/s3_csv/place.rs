//! Where an object lies: the bucket's address, and keys written as signatures have them.
//!
//! What it promises: a key reaches S3 as it is meant, since every character is encoded that S3 encodes
//! when it checks the signature; no part of a key climbs out of its folder.

use url::Url;

use super::super::drop::climbs;
use super::super::{Common, Reader};
use crate::finding::Finding;

/// A bucket, or a folder in it.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Address of the bucket.
    url: Url,
    prefix: String,
}

impl Bucket {
    pub(super) fn of(
        reader: &Reader<'_>,
        common: &Common,
        region: &str,
        (bucket, prefix, path_style): (String, String, Option<bool>),
    ) -> Result<Self, Vec<Finding>> {
        let refuse = |option: &str, fact: &str| vec![reader.refuse(option, fact)];
        if !is_name(&bucket) {
            let fact = "is not the name of a bucket: 3 to 63 small letters, digits, `.` and `-`";
            return Err(refuse("bucket", fact));
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if region.is_empty() || !region.bytes().all(is_plain) {
            let fact = "is not the name of a region, such as \"eu-west-1\"";
            return Err(refuse("region", fact));
        }
        if climbs(&prefix) {
            return Err(refuse("prefix", "must not hold `.` or `..` as a folder"));
        }
        let in_path = path_style.unwrap_or(common.base_url.is_some() || bucket.contains('.'));
        let mut url = match &common.base_url {
            Some(base) => base.clone(),
            None => address(region)
                .map_err(|error| refuse("region", &format!("makes no usable address: {error}")))?,
        };
        if in_path {
            url.set_path(&format!("{}/{bucket}", url.path().trim_end_matches('/')));
        } else if let Some(host) = url.host_str().map(|host| format!("{bucket}.{host}")) {
            url.set_host(Some(&host))
                .map_err(|error| refuse("bucket", &format!("makes no usable address: {error}")))?;
        }
        Ok(Self { url, prefix })
    }

    /// Address of an object below the prefix.
    pub(super) fn object(&self, parts: &[&str]) -> Url {
        let mut url = self.url.clone();
        let mut path = url.path().trim_end_matches('/').to_owned();
        for part in self.key(parts).split('/') {
            path.push('/');
            path.extend(part.bytes().flat_map(encoded));
        }
        url.set_path(&path);
        url
    }

    /// What the object is called in its bucket.
    pub(super) fn key(&self, parts: &[&str]) -> String {
        let parts = [&self.prefix[..]].into_iter().chain(parts.iter().copied());
        let parts = parts.flat_map(|part| part.split('/')).filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join("/")
    }

    /// What says in which region the bucket is.
    pub(super) fn location(&self) -> Url {
        let mut url = self.url.clone();
        url.set_query(Some("location"));
        url
    }
}

fn is_name(bucket: &str) -> bool {
    let is_plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-')
    };
    (3..=63).contains(&bucket.len()) && bucket.bytes().all(is_plain) && !bucket.contains("..")
}

/// Where S3 listens in a region; China has a domain of its own.
fn address(region: &str) -> Result<Url, url::ParseError> {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    Url::parse(&format!("https://s3.{region}.{domain}/"))
}

/// Everything but what RFC 3986 leaves unreserved.
fn encoded(byte: u8) -> Vec<char> {
    let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    if plain { vec![char::from(byte)] } else { format!("%{byte:02X}").chars().collect() }
}
