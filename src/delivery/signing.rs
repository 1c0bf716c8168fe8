//! Signature version 4 of Amazon Web Services, made anew for every try: it holds for minutes only.

use std::time::SystemTime;

use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;

use super::request::Request;
use crate::destinations::{Fault, Secret};

/// What requests to one service in one region are signed with.
#[derive(Debug, Clone)]
pub struct AwsKey {
    pub access_key_id: String,
    pub secret_access_key: Secret,
    /// Of temporary credentials.
    pub session_token: Option<Secret>,
    pub region: String,
    /// Name of the service as signatures have it, such as `kinesis`.
    pub service: &'static str,
}

impl AwsKey {
    /// S3 signs paths as they are and wants to be told the hash of the body.
    fn settings(&self) -> SigningSettings {
        let mut settings = SigningSettings::default();
        if self.service == "s3" {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        settings
    }

    /// Adds the signature over method, address, headers and body, as of `now`.
    pub(super) fn sign(&self, request: Request, now: SystemTime) -> Result<Request, Fault> {
        let unsignable = |error: &dyn std::fmt::Display| Fault::Misconfigured {
            reason: format!("the request cannot be signed: {error}"),
        };
        let identity = aws_credential_types::Credentials::new(
            &self.access_key_id,
            self.secret_access_key.expose(),
            self.session_token.as_ref().map(|token| token.expose().to_owned()),
            None,
            "muster",
        )
        .into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service)
            .time(now)
            .settings(self.settings())
            .build()
            .map_err(|error| unsignable(&error))?
            .into();
        let headers: Vec<(&str, &str)> = request
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
            .collect();
        let signable = SignableRequest::new(
            request.method.as_str(),
            request.url.as_str(),
            headers.into_iter(),
            SignableBody::Bytes(&request.body),
        )
        .map_err(|error| unsignable(&error))?;
        let (instructions, _) =
            sign(signable, &parameters).map_err(|error| unsignable(&error))?.into_parts();
        let (headers, _) = instructions.into_parts();
        Ok(headers.into_iter().fold(request, |request, header| match header.name() {
            name @ ("authorization" | "x-amz-security-token") => {
                request.secret_header(name, &Secret::new(header.value()))
            }
            name => request.header(name, header.value()),
        }))
    }
}
