//! A request that a client repeats because it lost the answer gets the first answer again.
//!
//! The official clients send no idempotency key. They do count: a repetition has
//! `x-stainless-retry-count` above zero, and the same key, path and body as before. When a request
//! like that was answered or is being handled since a short time, the repetition waits for that
//! answer instead of doing the work twice. First attempts are never held back: two clients that
//! send the same message mean two messages.
//!
//! The handler runs in a task of its own, so that a client that hangs up does not stop it halfway.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{OriginalUri, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use super::extract;
use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;

/// How long an answer is kept: the clients' waits between three attempts end well before.
const KEPT: Duration = Duration::from_secs(60);

/// How many answers are kept. When more are asked for in [`KEPT`], the oldest are forgotten, and a
/// repetition of one of those is handled as if it were new.
const ANSWERS: usize = 1024;

/// The largest answer that is kept; a repetition of a request with a larger one is handled anew.
const ANSWER_BYTES: usize = 64 * 1024;

/// What identifies a request: key, path and body.
type Fingerprint = [u8; 32];

/// The answers that may be asked for again. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Dedup(Arc<Mutex<VecDeque<Entry>>>);

struct Entry {
    fingerprint: Fingerprint,
    since: Instant,
    answer: watch::Receiver<Answer>,
}

/// How a request was answered.
#[derive(Clone, Default)]
enum Answer {
    /// Not yet.
    #[default]
    Open,
    /// With success.
    Kept(Bytes),
    /// In a way that is not kept.
    Other,
}

/// The layer of those methods that make something.
pub(super) async fn answer_once(
    State(app): State<App>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let body = extract::read_bytes(Request::from_parts(parts.clone(), body), &app).await?;
    let fingerprint = fingerprint(&caller, uri.path(), &body);
    let repeated = parts
        .headers
        .get("x-stainless-retry-count")
        .is_some_and(|count| count != "0");
    if repeated
        && let Some(answer) = app.dedup.find(&fingerprint)
        && let Some(response) = wait(answer).await
    {
        return Ok(response);
    }
    let (sender, answer) = watch::channel(Answer::Open);
    app.dedup.remember(fingerprint, answer);
    let request = Request::from_parts(parts, Body::from(body));
    // Dropping the connection drops the join handle, not the task; a stopping server waits for it.
    let handled = tokio::spawn(
        app.lifecycle
            .track(async move { keep(next.run(request).await, &sender).await }),
    );
    handled.await.map_err(ApiError::internal)
}

fn fingerprint(caller: &Caller, path: &str, body: &[u8]) -> Fingerprint {
    let mut hash = Sha256::new();
    for part in [caller.key_id.as_bytes(), path.as_bytes(), body] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The answer of the first attempt; `None` when it was none that can be given again.
async fn wait(mut answer: watch::Receiver<Answer>) -> Option<Response> {
    // An error means that the first attempt's task is gone without an answer.
    let answer = answer
        .wait_for(|answer| !matches!(answer, Answer::Open))
        .await
        .ok()?;
    match &*answer {
        Answer::Kept(bytes) => Some(success(bytes.clone())),
        Answer::Open | Answer::Other => None,
    }
}

fn success(bytes: Bytes) -> Response {
    let json = HeaderValue::from_static("application/json");
    (StatusCode::OK, [(CONTENT_TYPE, json)], bytes).into_response()
}

/// Shows the answer to those who wait for it.
async fn keep(response: Response, sender: &watch::Sender<Answer>) -> Response {
    if response.status() != StatusCode::OK {
        sender.send_replace(Answer::Other);
        return response;
    }
    let (parts, body) = response.into_parts();
    // Answers of these methods are whole in memory already.
    let bytes = match axum::body::to_bytes(body, usize::MAX).await {
        Ok(bytes) => bytes,
        Err(error) => return ApiError::internal(error).into_response(),
    };
    let small = bytes.len() <= ANSWER_BYTES;
    sender.send_replace(if small {
        Answer::Kept(bytes.clone())
    } else {
        Answer::Other
    });
    Response::from_parts(parts, Body::from(bytes))
}

impl Dedup {
    fn find(&self, fingerprint: &Fingerprint) -> Option<watch::Receiver<Answer>> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = entries
            .iter()
            .rev()
            .find(|entry| entry.fingerprint == *fingerprint);
        found
            .filter(|entry| entry.since.elapsed() <= KEPT)
            .map(|entry| entry.answer.clone())
    }

    fn remember(&self, fingerprint: Fingerprint, answer: watch::Receiver<Answer>) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while entries.len() >= ANSWERS
            || entries
                .front()
                .is_some_and(|entry| entry.since.elapsed() > KEPT)
        {
            entries.pop_front();
        }
        entries.push_back(Entry {
            fingerprint,
            since: Instant::now(),
            answer,
        });
    }
}
