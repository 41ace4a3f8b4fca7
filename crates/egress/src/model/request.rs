//! A request that is held until it is whole: what it may cost is known only then,
//! and it does not leave before that is known to be allowed.
//!
//! Read strictly, since what is set aside follows from it: JSON that two readers
//! could understand in two ways (a key twice) is refused. Nothing is changed.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::Refusal;

/// Bound of a request body, the public API's own.
const MAX_REQUEST: u64 = 32 * 1024 * 1024;

/// What a client may hold, in KiB: one body of the largest size.
pub(super) const MAX_HELD_KIB: usize = 32 * 1024;

/// Longest model name kept, in characters.
const MAX_MODEL: usize = 128;

/// Output of a request that does not say how much it wants: more than any listed
/// model gives.
const MAX_OUTPUT: u64 = 128_000;

/// A whole request body and its share of what its client may hold.
pub(super) struct Held {
    pub(super) body: Bytes,
    pub(super) share: OwnedSemaphorePermit,
}

/// What a call asks for.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Asked {
    pub(super) model: String,
    max_tokens: Option<u64>,
    speed: Option<String>,
}

/// Reads a body to its end, when there is room for it.
pub(super) async fn hold(
    mut body: Incoming,
    kib: &Arc<Semaphore>,
    idle: Duration,
) -> Result<Held, Refusal> {
    let hint = body.size_hint();
    if hint.lower() > MAX_REQUEST {
        return Err(too_large());
    }
    // A body of unknown length may become one of the largest size. It asks for all
    // of it at once: with parts, calls could wait for each other for ever.
    let most = hint.upper().unwrap_or(MAX_REQUEST).min(MAX_REQUEST);
    let share = u32::try_from(most.div_ceil(1024)).unwrap_or(u32::MAX);
    let share = Arc::clone(kib)
        .acquire_many_owned(share)
        .await
        .expect("the semaphore is never closed");
    let mut held = BytesMut::new();
    while let Some(frame) = tokio::time::timeout(idle, body.frame())
        .await
        .map_err(|_| ended_early())?
    {
        // Trailers of a request mean nothing to the API.
        let Ok(data) = frame.map_err(|_| ended_early())?.into_data() else {
            break;
        };
        if (held.len() + data.len()) as u64 > MAX_REQUEST {
            return Err(too_large());
        }
        held.extend_from_slice(&data);
    }
    Ok(Held {
        body: held.freeze(),
        share,
    })
}

impl Asked {
    /// What a body asks for.
    pub(super) fn read(body: &[u8]) -> Result<Asked, Refusal> {
        let mut asked: Asked = serde_json::from_slice(body).map_err(|_| not_a_request())?;
        if let Some((end, _)) = asked.model.char_indices().nth(MAX_MODEL) {
            asked.model.truncate(end);
        }
        Ok(asked)
    }

    /// The most tokens that the answer may have.
    pub(super) fn max_tokens(&self) -> u64 {
        self.max_tokens.unwrap_or(MAX_OUTPUT)
    }

    /// Whether it is sold on the terms that the price table is for.
    pub(super) fn is_standard(&self) -> bool {
        self.speed
            .as_deref()
            .is_none_or(|speed| speed == "standard")
    }
}

/// The answer to a body above the bound.
fn too_large() -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "request_too_large",
        "request_too_large",
        "the request body is larger than 32 MB",
    )
}

fn ended_early() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "invalid_request_error",
        "client_gone",
        "the request body ended early",
    )
}

fn not_a_request() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "invalid_request_error",
        "not_a_request",
        "the request body must be a JSON object that names its `model`, and no key twice (rule: whole-request)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_read_wherever_it_stands() {
        let body = br#"{"messages":[{"model":"inner"}],"max_t\u006fkens":7,"model":"m"}"#;
        let asked = Asked::read(body).unwrap();
        assert_eq!((asked.model.as_str(), asked.max_tokens()), ("m", 7));
        assert!(asked.is_standard());
    }

    #[test]
    fn what_says_nothing_is_taken_for_the_most() {
        let asked = Asked::read(br#"{"model":"m","speed":"fast"}"#).unwrap();
        assert_eq!(asked.max_tokens(), MAX_OUTPUT);
        assert!(!asked.is_standard());
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for body in [
            "",
            "[]",
            "{}",
            "not json",
            r#"{"model":1}"#,
            r#"{"model":"a","model":"b"}"#,
            r#"{"model":"a","max_tokens":1,"max_t\u006fkens":2}"#,
            r#"{"model":"a","max_tokens":-1}"#,
            r#"{"model":"a"} {"model":"b"}"#,
        ] {
            assert!(Asked::read(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_long_name_is_cut() {
        let body = format!(r#"{{"model":"{}"}}"#, "é".repeat(1000));
        assert_eq!(Asked::read(body.as_bytes()).unwrap().model.len(), 256);
    }
}
