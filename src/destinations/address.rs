//! Addresses of APIs: what stands below the one that the project or the vendor gives.

use url::Url;

use super::{Common, Reader};
use crate::finding::Finding;

/// Where an API is: `base_url`, or the vendor's own address.
pub(super) fn of_api(
    reader: &Reader<'_>,
    common: &Common,
    vendor: &str,
) -> Result<Url, Vec<Finding>> {
    if let Some(base) = &common.base_url {
        return Ok(base.clone());
    }
    Url::parse(vendor).map_err(|error| {
        vec![reader.refuse("base_url", &format!("has no usable default: {error}"))]
    })
}

/// An address below another one, whose own path stays in front.
pub(super) fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}
