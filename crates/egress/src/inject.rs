//! Headers on their way out and back: what a client may not say is dropped, the
//! real credential is put in, what concerns one hop stays on that hop.

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};

use crate::config::KeyHeader;
use crate::secret::{CredentialError, Secret};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const PROXY_PREFIX: &str = "proxy-";

/// Makes the headers of a request to the model API from those of the sandbox.
///
/// The sandbox's own credentials go, whatever they are; without `key` nothing
/// takes their place. Encodings are refused so that the answer can be counted.
pub(crate) fn model_request(
    headers: &mut HeaderMap,
    key: Option<(KeyHeader, &Secret)>,
) -> Result<(), CredentialError> {
    strip_hop(headers);
    for name in [HOST, CONTENT_LENGTH, EXPECT, API_KEY, AUTHORIZATION] {
        headers.remove(name);
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    match key {
        Some((KeyHeader::ApiKey, key)) => headers.insert(API_KEY, key.header("")?),
        Some((KeyHeader::Bearer, key)) => headers.insert(AUTHORIZATION, key.header("Bearer ")?),
        None => None,
    };
    Ok(())
}

/// Makes the headers of an answer to the sandbox from those of the model API.
/// An upstream that echoes the key in a header does not hand it on.
pub(crate) fn model_response(headers: &mut HeaderMap) {
    strip_hop(headers);
    headers.remove(API_KEY);
    headers.remove(AUTHORIZATION);
}

/// Drops what concerns one hop only, the headers named by `connection` included.
pub(crate) fn strip_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let proxy: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(PROXY_PREFIX))
        .cloned()
        .collect();
    for name in named.iter().chain(&proxy) {
        headers.remove(name);
    }
    let keep_alive = HeaderName::from_static("keep-alive");
    for name in [
        CONNECTION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        keep_alive,
    ] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    fn from_sandbox() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "127.0.0.1"),
            ("x-api-key", "placeholder"),
            ("authorization", "Bearer stolen"),
            ("proxy-authorization", "Basic x"),
            ("proxy-anything", "x"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("content-length", "3"),
            ("accept-encoding", "gzip"),
            ("anthropic-version", "2023-06-01"),
        ] {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        headers
    }

    #[test]
    fn the_real_key_takes_the_place_of_the_placeholder() {
        let mut headers = from_sandbox();
        let key = Secret::new("real");
        model_request(&mut headers, Some((KeyHeader::ApiKey, &key))).unwrap();
        assert_eq!(
            names(&headers),
            ["accept-encoding", "anthropic-version", "x-api-key"]
        );
        assert_eq!(headers["x-api-key"], "real");
        assert_eq!(headers["accept-encoding"], "identity");
        assert!(
            !format!("{headers:?}").contains("real"),
            "sensitive values are not shown"
        );
    }

    #[test]
    fn a_token_goes_as_bearer() {
        let mut headers = from_sandbox();
        let key = Secret::new("real");
        model_request(&mut headers, Some((KeyHeader::Bearer, &key))).unwrap();
        assert_eq!(
            names(&headers),
            ["accept-encoding", "anthropic-version", "authorization"]
        );
        assert_eq!(headers["authorization"], "Bearer real");
    }

    #[test]
    fn without_a_key_no_credential_leaves() {
        let mut headers = from_sandbox();
        model_request(&mut headers, None).unwrap();
        assert_eq!(names(&headers), ["accept-encoding", "anthropic-version"]);
    }

    #[test]
    fn a_key_that_is_no_header_value_is_named_without_its_content() {
        let key = Secret::new("real\nkey");
        let error = model_request(&mut HeaderMap::new(), Some((KeyHeader::ApiKey, &key)));
        assert!(!format!("{error:?}").contains("real"));
    }
}
