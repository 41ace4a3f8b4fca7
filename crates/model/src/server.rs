//! The HTTP server: connections, routes, keys, records.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::plan::Attempts;
use crate::record::{Recorded, Ring};
use crate::stream::Planned;
use crate::{Options, STOP_GRACE, catalogue, messages};

/// Bound of a request body, the public API's own.
const MAX_REQUEST: usize = 32 * 1024 * 1024;

/// The header by which the CLI names its session.
const SESSION: &str = "x-claude-code-session-id";

/// Faults whose attempts are remembered; the oldest are forgotten first, and
/// then happen anew.
const MAX_ATTEMPTS: usize = 10_000;

/// How long to wait after a failed accept: the usual cause is a lack of
/// descriptors, which an immediate next try does not cure.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What all connections share.
pub(crate) struct Shared {
    key: Option<String>,
    keeps: bool,
    ring: Mutex<Ring>,
    attempts: Mutex<Counts>,
    ids: Ids,
}

#[derive(Default)]
struct Counts {
    counts: HashMap<(u64, usize), u32>,
    order: VecDeque<(u64, usize)>,
}

/// Makes ids that no other run of the server makes.
pub(crate) struct Ids {
    run: u64,
    next: AtomicU64,
}

impl Ids {
    /// A new id with this prefix.
    pub(crate) fn next(&self, prefix: &str) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{prefix}{:016x}{number:06x}", self.run)
    }
}

impl Shared {
    pub(crate) fn new(options: Options) -> Self {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let run = u64::try_from(since.as_nanos()).unwrap_or_default();
        Self {
            key: options.key,
            keeps: options.keep_requests > 0,
            ring: Mutex::new(Ring::new(options.keep_requests)),
            attempts: Mutex::default(),
            ids: Ids {
                run,
                next: AtomicU64::new(0),
            },
        }
    }

    pub(crate) fn requests(&self) -> Vec<Recorded> {
        lock(&self.ring).all()
    }

    fn may_enter(&self, parts: &Parts) -> bool {
        let Some(key) = &self.key else { return true };
        let sent = |name: &str| parts.headers.get(name).map(HeaderValue::as_bytes);
        let bearer = sent(AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix(b"Bearer "));
        sent("x-api-key") == Some(key.as_bytes()) || bearer == Some(key.as_bytes())
    }
}

impl Attempts for Shared {
    fn count(&self, key: u64, fault: usize) -> u32 {
        let mut attempts = lock(&self.attempts);
        let Counts { counts, order } = &mut *attempts;
        let count = counts.entry((key, fault)).or_insert_with(|| {
            order.push_back((key, fault));
            0
        });
        let before = *count;
        *count += 1;
        if order.len() > MAX_ATTEMPTS
            && let Some(oldest) = order.pop_front()
        {
            counts.remove(&oldest);
        }
        before
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts and serves until `stop`, then lets connections finish for a moment.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&shared), stop.clone()));
                }
                Err(error) => pause(&error).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    // What does not end in time is cut when the set is dropped.
    let _ = tokio::time::timeout(STOP_GRACE, drained).await;
}

async fn pause(error: &io::Error) {
    debug!(error = %error, "the scripted model could not accept a connection");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, stop: CancellationToken) {
    // Only a matter of latency.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(&shared, request).await) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(error = %error, "a connection of the scripted model ended early");
    }
}

async fn respond(shared: &Shared, request: Request<Incoming>) -> Response<Planned> {
    let (parts, body) = request.into_parts();
    let mut response = match Limited::new(body, MAX_REQUEST).collect().await {
        Ok(body) => route(shared, &parts, body.to_bytes()).await,
        Err(_) => {
            let message = "the request body is larger than 32 MB or was cut";
            error(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
        }
    };
    let id = shared.ids.next("req_01");
    let id = HeaderValue::from_str(&id).expect("an id is hexadecimal digits");
    response.headers_mut().insert("request-id", id);
    response
}

async fn route(shared: &Shared, parts: &Parts, body: Bytes) -> Response<Planned> {
    let path = parts.uri.path();
    if path == "/__requests" {
        let all: Vec<Value> = shared.requests().iter().map(Recorded::public).collect();
        return json_response(StatusCode::OK, &Value::Array(all));
    }
    if shared.keeps {
        lock(&shared.ring).push(Recorded::new(parts, body.clone(), SystemTime::now()));
    }
    if matches!(path, "/" | "/api/hello") {
        return json_response(StatusCode::OK, &json!({"message": "hello"}));
    }
    if !shared.may_enter(parts) {
        return error(
            StatusCode::UNAUTHORIZED,
            "authentication_error",
            "invalid x-api-key",
        );
    }
    let reads = parts.method == Method::GET || parts.method == Method::HEAD;
    match path {
        "/v1/messages" if parts.method == Method::POST => {
            let session = parts.headers.get(SESSION);
            messages::create(&body, session, shared, &shared.ids).await
        }
        "/v1/messages/count_tokens" if parts.method == Method::POST => messages::count(&body),
        "/v1/models" if reads => match catalogue::list(parts.uri.query().unwrap_or_default()) {
            Ok(page) => json_response(StatusCode::OK, &page),
            Err(message) => error(StatusCode::BAD_REQUEST, "invalid_request_error", &message),
        },
        _ => match path.strip_prefix("/v1/models/").filter(|_| reads) {
            Some(id) => match catalogue::one(id) {
                Some(model) => json_response(StatusCode::OK, &model),
                None => not_found(&format!("model: {id}")),
            },
            None => not_found(&format!("{} {path} is not served here", parts.method)),
        },
    }
}

fn not_found(message: &str) -> Response<Planned> {
    error(StatusCode::NOT_FOUND, "not_found_error", message)
}

/// An error in the API's shape.
pub(crate) fn error(status: StatusCode, kind: &str, message: &str) -> Response<Planned> {
    let body = json!({"type": "error", "error": {"type": kind, "message": message}});
    json_response(status, &body)
}

/// A JSON answer.
pub(crate) fn json_response(status: StatusCode, body: &Value) -> Response<Planned> {
    let mut response = Response::new(Planned::whole(body.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
