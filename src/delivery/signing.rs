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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use url::Url;

    use super::*;

    /// The examples of "Signature Calculations for the Authorization Header" in the documents of S3.
    #[test]
    fn objects_are_signed_as_the_documents_of_s3_have_it() {
        let key = AwsKey {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            session_token: None,
            region: "us-east-1".into(),
            service: "s3",
        };
        // 2013-05-24T00:00:00Z.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600);
        let at = |path: &str| {
            Url::parse(&format!("https://examplebucket.s3.amazonaws.com/{path}")).unwrap()
        };
        let signature = |request: Request| {
            let signed = key.sign(request, now).unwrap();
            let text = |name: &str| signed.headers[name].to_str().unwrap().to_owned();
            (text("authorization"), text("x-amz-content-sha256"))
        };
        let mut put = Request::new(http::Method::PUT, at("test%24file.text"))
            .header("date", "Fri, 24 May 2013 00:00:00 GMT")
            .header("x-amz-storage-class", "REDUCED_REDUNDANCY");
        put.body = "Welcome to Amazon S3.".into();
        let (signed, hash) = signature(put);
        assert!(
            signed.ends_with("98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
            "{signed}"
        );
        assert_eq!(hash, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
        let (signed, _) = signature(Request::get(at("?lifecycle")));
        assert!(
            signed.ends_with("fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            "{signed}"
        );
    }
}
