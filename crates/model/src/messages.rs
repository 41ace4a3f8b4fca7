//! `POST /v1/messages` and `POST /v1/messages/count_tokens`.

use std::future;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::catalogue;
use crate::conversation::Request;
use crate::plan::{Attempts, Plan, tokens};
use crate::script::Fault;
use crate::server::{Ids, error, json_response};
use crate::stream::Planned;

/// Answers a request for a message. May never return: a script can say so.
pub(crate) async fn create(
    body: &Bytes,
    session: Option<&HeaderValue>,
    attempts: &(dyn Attempts + Sync),
    ids: &Ids,
) -> Response<Planned> {
    let request = match read(body) {
        Ok(request) => request,
        Err(refused) => return *refused,
    };
    if request.max_tokens.is_none() {
        return invalid("max_tokens: Field required");
    }
    let cached = body
        .windows(CACHE_MARK.len())
        .any(|window| window == CACHE_MARK);
    let mut plan = match Plan::of(
        &request,
        body.len(),
        cached,
        &OfSession { session, attempts },
    ) {
        Ok(plan) => plan,
        Err(problem) => return invalid(&problem.to_string()),
    };
    if let Some(delay) = plan.delay {
        tokio::time::sleep(delay).await;
    }
    match plan.fault.take() {
        Some(Fault::Silent) => future::pending().await,
        Some(Fault::Error {
            status,
            kind,
            retry_after,
        }) => failure(status, &kind, "scripted", retry_after),
        Some(Fault::Break(kind)) if !request.stream => failure(500, &kind, "scripted", None),
        fault => {
            plan.fault = fault;
            answer(plan, request.stream, ids)
        }
    }
}

/// The attempts of one session: the same prompt in another session fails anew.
struct OfSession<'a> {
    session: Option<&'a HeaderValue>,
    attempts: &'a (dyn Attempts + Sync),
}

impl Attempts for OfSession<'_> {
    fn count(&self, key: u64, fault: usize) -> u32 {
        let mut hasher = DefaultHasher::new();
        (key, self.session.map(HeaderValue::as_bytes)).hash(&mut hasher);
        self.attempts.count(hasher.finish(), fault)
    }
}

/// Answers a request to count.
pub(crate) fn count(body: &Bytes) -> Response<Planned> {
    match read(body) {
        Ok(_) => json_response(StatusCode::OK, &json!({"input_tokens": tokens(body.len())})),
        Err(refused) => *refused,
    }
}

/// A mark of it anywhere is enough: what is cached is made up anyway.
const CACHE_MARK: &[u8] = b"\"cache_control\"";

fn read(body: &Bytes) -> Result<Request, Box<Response<Planned>>> {
    let request: Request = serde_json::from_slice(body)
        .map_err(|problem| Box::new(invalid(&format!("the request is not valid: {problem}"))))?;
    if !catalogue::is_known(&request.model) {
        let message = format!("model: {}", request.model);
        return Err(Box::new(error(
            StatusCode::NOT_FOUND,
            "not_found_error",
            &message,
        )));
    }
    if request.messages.is_empty() {
        return Err(Box::new(invalid(
            "messages: at least one message is required",
        )));
    }
    Ok(request)
}

fn answer(plan: Plan, stream: bool, ids: &Ids) -> Response<Planned> {
    let id = ids.next("msg_01");
    let tool_id = || ids.next("toolu_01");
    if !stream {
        let mut response = Response::new(Planned::object(plan, &id, tool_id));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        return response;
    }
    let mut response = Response::new(Planned::events(plan, &id, tool_id));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn invalid(message: &str) -> Response<Planned> {
    error(StatusCode::BAD_REQUEST, "invalid_request_error", message)
}

fn failure(status: u16, kind: &str, message: &str, retry_after: Option<u64>) -> Response<Planned> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = error(status, kind, message);
    if let Some(seconds) = retry_after {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
