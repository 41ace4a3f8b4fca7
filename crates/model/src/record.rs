//! The last requests, for tests that ask what was sent. Credentials are not
//! kept: of each only that it was there and the head of its hash.

use std::collections::VecDeque;
use std::time::SystemTime;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// When it was read to its end.
    pub at: SystemTime,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The headers; the value of a credential is replaced by `sha256:` and the
    /// first 16 digits of its hash.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Recorded {
    pub(crate) fn new(parts: &Parts, body: Bytes, at: SystemTime) -> Self {
        let mut headers = parts.headers.clone();
        for name in [
            header::HeaderName::from_static("x-api-key"),
            header::AUTHORIZATION,
        ] {
            if let Some(value) = headers.get_mut(&name) {
                let digest = key_hash(value.as_bytes());
                *value = HeaderValue::from_str(&digest).expect("hexadecimal digits are valid");
            }
        }
        Self {
            at,
            method: parts.method.to_string(),
            path: parts.uri.to_string(),
            headers,
            body,
        }
    }

    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The form of `GET /__requests`.
    pub(crate) fn public(&self) -> Value {
        let headers: serde_json::Map<String, Value> = self
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into(),
                )
            })
            .collect();
        let at = self
            .at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let body = match serde_json::from_slice(&self.body) {
            Ok(body) => body,
            Err(_) => Value::String(String::from_utf8_lossy(&self.body).into_owned()),
        };
        json!({
            "at": at.as_secs_f64(),
            "method": self.method,
            "path": self.path,
            "headers": headers,
            "body": body,
        })
    }
}

/// `sha256:` and 16 hexadecimal digits of the hash of a header value.
#[must_use]
pub(crate) fn key_hash(value: &[u8]) -> String {
    let digest = Sha256::digest(value);
    let mut text = String::from("sha256:");
    for byte in &digest[..8] {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Bodies kept together; a full session of the CLI is about 50 kB a request.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// A bounded list; the oldest go first when it is full.
pub(crate) struct Ring {
    max: usize,
    bytes: usize,
    records: VecDeque<Recorded>,
}

impl Ring {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            bytes: 0,
            records: VecDeque::new(),
        }
    }

    pub(crate) fn push(&mut self, record: Recorded) {
        if self.max == 0 {
            return;
        }
        self.bytes += record.body.len();
        self.records.push_back(record);
        while self.records.len() > self.max || self.bytes > MAX_BYTES {
            let Some(oldest) = self.records.pop_front() else {
                break;
            };
            self.bytes -= oldest.body.len();
        }
    }

    pub(crate) fn all(&self) -> Vec<Recorded> {
        self.records.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(body: &str) -> Recorded {
        let request = http::Request::builder()
            .uri("/v1/messages")
            .header("x-api-key", "sk-secret")
            .header("authorization", "Bearer sk-secret")
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();
        Recorded::new(
            &parts,
            Bytes::copy_from_slice(body.as_bytes()),
            SystemTime::UNIX_EPOCH,
        )
    }

    #[test]
    fn a_key_is_kept_as_a_hash_only() {
        let record = record("{}");
        let shown = format!("{record:?} {}", record.public());
        assert!(!shown.contains("secret"), "{shown}");
        assert_eq!(record.headers["x-api-key"], key_hash(b"sk-secret").as_str());
    }

    #[test]
    fn the_oldest_go_first() {
        let mut ring = Ring::new(2);
        for body in ["1", "2", "3"] {
            ring.push(record(body));
        }
        let bodies: Vec<Value> = ring.all().iter().map(Recorded::json).collect();
        assert_eq!(bodies, [json!(2), json!(3)]);
    }
}
