//! OAuth 2 as vendors use it: how a token is asked for with client credentials, a refresh token or a
//! signed assertion. When to ask, and for how long a token is used, is the session's business.
//!
//! What it promises: secrets only ever stand in the body or in headers marked as secret; an assertion
//! holds for five minutes from the moment it is asked for.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;
use url::Url;

use super::{Fault, Secret};
use crate::delivery::{Grant, Request, granting};

/// Where and how a vendor gives out tokens.
#[derive(Debug)]
pub(super) struct OAuth {
    /// Address of the token endpoint.
    pub url: Url,
    pub flow: Flow,
    pub encoding: Encoding,
    /// Further fields of the request, such as a scope.
    pub extra: Vec<(&'static str, String)>,
}

/// What proves who we are.
#[derive(Debug)]
pub(super) enum Flow {
    ClientCredentials { id: String, secret: Secret },
    Refresh { id: String, secret: Option<Secret>, token: Secret },
    Assertion(Assertion),
}

/// How the request for a token is worded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Form,
    Json,
}

/// A JSON web token signed with a private key (RS256).
#[derive(Debug)]
pub(super) struct Assertion {
    pub issuer: String,
    pub subject: Option<String>,
    pub audience: String,
    pub scope: Option<String>,
    /// Private key in PEM: PKCS #8, as `-----BEGIN PRIVATE KEY-----`.
    pub key: Secret,
}

const HOLDS: Duration = Duration::from_mins(5);

impl Grant for OAuth {
    fn request(&self, now: SystemTime) -> Result<Request, Fault> {
        let mut fields = self.flow.fields(now)?;
        fields.extend(self.extra.iter().map(|(name, value)| (*name, value.clone())));
        let request = Request::post(self.url.clone()).reading(granting);
        Ok(match self.encoding {
            Encoding::Form => {
                let fields: Vec<(&str, &str)> =
                    fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
                request.form_body(&fields)
            }
            Encoding::Json => {
                let fields =
                    fields.into_iter().map(|(name, value)| (name.to_owned(), value.into()));
                let body = serde_json::Value::Object(fields.collect());
                request.json_body(body.to_string().into())
            }
        })
    }
}

impl Flow {
    fn fields(&self, now: SystemTime) -> Result<Vec<(&'static str, String)>, Fault> {
        Ok(match self {
            Self::ClientCredentials { id, secret } => vec![
                ("grant_type", "client_credentials".into()),
                ("client_id", id.clone()),
                ("client_secret", secret.expose().into()),
            ],
            Self::Refresh { id, secret, token } => {
                let secret = secret.iter().map(|secret| ("client_secret", secret.expose().into()));
                [
                    ("grant_type", "refresh_token".into()),
                    ("client_id", id.clone()),
                    ("refresh_token", token.expose().into()),
                ]
                .into_iter()
                .chain(secret)
                .collect()
            }
            Self::Assertion(assertion) => vec![
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer".into()),
                ("assertion", assertion.signed(now)?),
            ],
        })
    }
}

impl Assertion {
    /// Whether the key can be used at all: asked when the destination is configured.
    pub fn verify(&self) -> Result<(), String> {
        self.pair().map(|_| ())
    }

    fn pair(&self) -> Result<RsaKeyPair, String> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(self.key.expose().as_bytes())
            .map_err(|_| "is not a private key in PEM (PKCS #8)".to_owned())?;
        RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())
            .map_err(|error| format!("is not a usable RSA key: {error}"))
    }

    fn signed(&self, now: SystemTime) -> Result<String, Fault> {
        let unusable = |why: String| Fault::Denied { reason: format!("the private key {why}") };
        let pair = self.pair().map_err(unusable)?;
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut claims = json!({
            "iss": self.issuer,
            "aud": self.audience,
            "iat": seconds,
            "exp": seconds + HOLDS.as_secs(),
        });
        for (name, value) in [("sub", &self.subject), ("scope", &self.scope)] {
            if let Some(value) = value {
                claims[name] = json!(value);
            }
        }
        let head = json!({"alg": "RS256", "typ": "JWT"});
        let parts = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = parts.join(".");
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
            .map_err(|_| unusable("cannot sign".into()))?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    /// Made for this test with `openssl genpkey -algorithm RSA`; it opens nothing.
    const KEY: &str = include_str!("oauth/test_key.pem");

    fn assertion(key: &str) -> Assertion {
        Assertion {
            issuer: "app".into(),
            subject: Some("ops@example.org".into()),
            audience: "https://login.example.org".into(),
            scope: None,
            key: Secret::new(key),
        }
    }

    #[test]
    fn an_assertion_says_who_for_whom_and_until_when_and_is_signed() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let token = assertion(KEY).signed(now).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let claims = URL_SAFE_NO_PAD.decode(message.split_once('.').unwrap().1).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        insta::assert_snapshot!(claims, @r#"{"aud":"https://login.example.org","exp":1000300,"iat":1000000,"iss":"app","sub":"ops@example.org"}"#);
        let pair = assertion(KEY).pair().unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key());
        public.verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    }

    #[test]
    fn a_key_that_is_none_is_told_without_showing_it() {
        for key in ["hush", "-----BEGIN PRIVATE KEY-----\naHVzaA==\n-----END PRIVATE KEY-----\n"] {
            let told = assertion(key).verify().unwrap_err();
            assert!(told.starts_with("is not a") && !told.contains("hush"), "{told}");
        }
    }
}
