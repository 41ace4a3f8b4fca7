//! Turning what went wrong between client and server into a sentence and a next step.

use reqwest::StatusCode;
use serde_json::Value;

use crate::failure::Failure;

/// The server could not be reached, or the connection broke.
pub fn unreachable(base: &str, error: &reqwest::Error) -> Failure {
    if error.is_builder() {
        return Failure::usage(format!("{base} is not a URL"))
            .next("for example http://127.0.0.1:8700");
    }
    // The URL is said once, by us, without the path.
    let failure = Failure::caused(format!("cannot reach {base}"), error);
    if error.is_connect() {
        failure.next(
            "is the server running? start it with `hostel serve`, or name another with --server",
        )
    } else {
        failure
    }
}

/// The server answered with an error.
pub fn refused(status: StatusCode, body: &[u8]) -> Failure {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = body["error"]["message"]
        .as_str()
        .unwrap_or("no reason given");
    let mut what = format!("the server says {}: {message}", status.as_u16());
    if let Some(request) = body["request_id"].as_str() {
        what = format!("{what} ({request})");
    }
    let failure = Failure::new(what);
    match status {
        StatusCode::UNAUTHORIZED => {
            failure.next("check HOSTEL_API_KEY: it must be a key of this server")
        }
        StatusCode::NOT_FOUND => failure.next("`hostel ps --all` lists the sessions there are"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_and_request_are_told() {
        let body = br#"{"type":"error","error":{"type":"not_found_error","message":"no session sesn_1"},"request_id":"req_1"}"#;
        let failure = refused(StatusCode::NOT_FOUND, body);
        assert_eq!(
            failure.to_string(),
            "the server says 404: no session sesn_1 (req_1)"
        );
    }

    #[test]
    fn an_answer_of_another_kind_is_no_panic() {
        let failure = refused(StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(failure.to_string(), "the server says 502: no reason given");
    }
}
