//! The model way: an HTTP server that a sandbox reaches as the model API.
//!
//! It lets a short list of paths through and nothing else; where they go is
//! fixed by configuration, so the request's own host means nothing.
//!
//! A request is held until it is whole. It waits for upstream's rate limit
//! (`pace`), sets aside what it may cost, and leaves; its record settles that.
//!
//! Bounds: 64 calls of a client at once and 32 MiB of bodies held (the next
//! waits), 32 MiB a request body (413), 100 headers and 64 KiB a request head
//! (431).

mod request;
mod route;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, info};

use self::request::{Asked, MAX_HELD_KIB, hold};
use self::route::Route;
use crate::answer::{Refusal, Reply};
use crate::config::{Config, ConfigError, KeyHeader};
use crate::forward::{Call, Outgoing, Passing, Sold, Upstream};
use crate::idle::Activity;
use crate::inject;
use crate::pace::Pace;
use crate::prices::Prices;
use crate::secret::{CredentialError, Placeholder, Slot};
use crate::turnstile::Turnstile;
use crate::usage::{Admission, ClientId, Estimate, Microcents};
use crate::windows::{Credentials, Policies, UsageSink, Windows};

/// Calls of one client under way at once. A session with subagents has about
/// ten; this leaves room and still bounds what one sandbox can hold upstream.
const MAX_CALLS: usize = 64;

/// Bounds of a request head. The CLI sends about 25 headers in 2 kB.
const MAX_HEADERS: usize = 100;
const MAX_HEAD: usize = 64 * 1024;

/// How long a connection may wait for a request. Long, since clients keep idle
/// connections and do not like to lose them; it only clears out forgotten ones.
const HEAD_TIMEOUT: Duration = Duration::from_secs(600);

/// Everything the model way needs.
pub(crate) struct ModelWay {
    upstream: Upstream,
    usage: Arc<dyn UsageSink>,
    prices: Arc<Prices>,
    pace: Pace,
    policies: Arc<dyn Policies>,
    credentials: Arc<dyn Credentials>,
    key: Slot,
    key_header: KeyHeader,
    calls: Turnstile,
    held: Turnstile,
    clock: fn() -> SystemTime,
}

impl ModelWay {
    pub(crate) fn new(config: Config, windows: Windows) -> Result<Self, ConfigError> {
        Ok(Self {
            upstream: Upstream::new(&config)?,
            usage: windows.usage,
            prices: Arc::new(config.prices),
            pace: Pace::default(),
            policies: windows.policies,
            credentials: windows.credentials,
            key: config.key,
            key_header: config.key_header,
            calls: Turnstile::new(MAX_CALLS),
            held: Turnstile::new(MAX_HELD_KIB),
            clock: windows.clock,
        })
    }
}

/// What a client may have at once.
#[derive(Clone)]
struct Places {
    /// One for each call under way.
    calls: Arc<Semaphore>,
    /// One for each KiB of a request that is held.
    kib: Arc<Semaphore>,
}

/// Serves one connection until its end.
pub(crate) async fn serve<I>(way: Arc<ModelWay>, client: ClientId, seat: Option<Placeholder>, io: I)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let places = Places {
        calls: way.calls.of(&client),
        kib: way.held.of(&client),
    };
    let seat = seat.as_ref();
    let service = service_fn(|request| {
        let (way, places, client) = (Arc::clone(&way), places.clone(), client.clone());
        async move {
            let response = match strange(seat, &request) {
                Some(refusal) => refused(&client, request.uri().path(), &refusal),
                None => answer(&way, client, places, request).await,
            };
            Ok::<_, Infallible>(response)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .serve_connection(TokioIo::new(io), service)
        .await;
    if let Err(error) = served {
        // A cut answer ends its connection this way too; the usage record says
        // which it was.
        debug!(client.id = %client, error = %error, "a model connection of {client} ended early");
    }
}

/// Why a request is not one of the seat that the connection belongs to. The probe
/// takes no key, costs nothing and may come without one.
fn strange(seat: Option<&Placeholder>, request: &Request<Incoming>) -> Option<Refusal> {
    let is_probe = Route::of(request.method(), request.uri().path()).is_ok_and(|r| !r.takes_key());
    let shown = seat.is_none_or(|seat| seat.is_shown(request.headers()));
    (!shown && !is_probe).then(|| {
        Refusal::new(
            StatusCode::UNAUTHORIZED,
            "authentication_error",
            "another_seat",
            "the key shown is not this session's own, so the model cannot be called with it (rule: seat-key)",
        )
    })
}

/// Answers one request.
async fn answer(
    way: &ModelWay,
    client: ClientId,
    places: Places,
    request: Request<Incoming>,
) -> Response<Reply<Passing>> {
    let path = request.uri().path().to_owned();
    let forwarded = match Route::of(request.method(), &path) {
        Ok(route) => forward(way, &client, &places, route, request).await,
        Err(refusal) => Err(refusal),
    };
    forwarded.unwrap_or_else(|refusal| refused(&client, &path, &refusal))
}

/// The answer that egress gives itself, and its line in the log.
fn refused(client: &ClientId, path: &str, refusal: &Refusal) -> Response<Reply<Passing>> {
    let shown: String = path.chars().take(200).collect();
    info!(
        client.id = %client, path = shown, rule = refusal.cause, verdict = "refused",
        "refused a model request of {client}: {}", refusal.cause
    );
    refusal.response().map(Reply::Ours)
}

/// Sends a request that has a route and hands back the head of the answer.
async fn forward(
    way: &ModelWay,
    client: &ClientId,
    places: &Places,
    route: Route,
    request: Request<Incoming>,
) -> Result<Response<Reply<Passing>>, Refusal> {
    let payer = way.usage.payer(client);
    let (Some(_), Some(payer)) = (way.policies.of(client), payer) else {
        return Err(unknown_client());
    };
    let place = Arc::clone(&places.calls)
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    let (mut parts, body) = request.into_parts();
    let held = hold(body, &places.kib, way.upstream.idle_timeout()).await?;
    let asked = match route.is_call() {
        true => Some(Asked::read(&held.body)?),
        false => None,
    };
    if route == Route::Messages {
        way.pace.pass(&payer, client).await;
    }
    let key = match route.takes_key() {
        true => Some(way.credentials.resolve(&way.key).await),
        false => None,
    };
    let key = key.transpose().map_err(|error| no_key(way, &error))?;
    inject::model_request(
        &mut parts.headers,
        key.as_ref().map(|key| (way.key_header, key)),
    )
    .map_err(|error| no_key(way, &error))?;
    drop(key);
    let mut call = match &asked {
        Some(asked) => Some(reserve(way, client, route, asked, held.body.len()).await?),
        None => None,
    };
    let activity = Activity::new();
    let body = Outgoing::new(held.body, activity.clone(), held.share);
    let sent = way
        .upstream
        .send(Request::from_parts(parts, body), &activity);
    match sent.await {
        Ok(response) => {
            if route == Route::Messages && response.status() == StatusCode::TOO_MANY_REQUESTS {
                way.pace.limited(&payer, retry_after(response.headers()));
            }
            Ok(passing(way, response, call, place))
        }
        Err(refusal) => {
            if let Some(call) = &mut call {
                call.failed(refusal.cause, Some(refusal.status));
            }
            Err(refusal)
        }
    }
}

/// Sets aside what a call may cost; the call holds it until it is settled.
async fn reserve(
    way: &ModelWay,
    client: &ClientId,
    route: Route,
    asked: &Asked,
    bytes: usize,
) -> Result<Call, Refusal> {
    let sold = Sold {
        prices: Arc::clone(&way.prices),
        path: route.path(),
        free: route == Route::CountTokens,
        bytes: bytes as u64,
    };
    let started_at = (way.clock)();
    let worst = match () {
        () if sold.free => Some(Microcents(0)),
        () if !asked.is_standard() => None,
        () => way
            .prices
            .worst(&asked.model, started_at, sold.bytes, asked.max_tokens()),
    };
    let estimate = Estimate {
        client: client.clone(),
        model: asked.model.clone(),
        started_at,
        worst,
    };
    match way.usage.reserve(estimate.clone()).await {
        Admission::Allow(reservation) => Ok(Call::new(sold, estimate, reservation)),
        Admission::Refuse {
            status,
            error_type,
            message,
        } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
            Err(Refusal::new(status, error_type, "not_admitted", message))
        }
    }
}

/// How long upstream wants to be left alone, if it says so in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    Duration::try_from_secs_f64(value.trim().parse().ok()?).ok()
}

/// The answer on its way back, its record and its place with it.
fn passing(
    way: &ModelWay,
    response: Response<Incoming>,
    mut call: Option<Call>,
    place: OwnedSemaphorePermit,
) -> Response<Reply<Passing>> {
    let (mut parts, body) = response.into_parts();
    if let Some(call) = &mut call {
        call.answered(parts.status, &parts.headers);
    }
    inject::model_response(&mut parts.headers);
    // Extensions of the upstream connection are not the client's.
    parts.extensions.clear();
    let body = Passing::new(body, call, way.upstream.idle_timeout(), place);
    Response::from_parts(parts, Reply::Theirs(body))
}

fn unknown_client() -> Refusal {
    Refusal::new(
        StatusCode::FORBIDDEN,
        "permission_error",
        "unknown_client",
        "this sandbox has no policy, so it may not call the model (rule: unknown-client)",
    )
}

/// A missing key is the operator's to set: a status that clients do not retry.
fn no_key(way: &ModelWay, error: &CredentialError) -> Refusal {
    let message = format!("the model key cannot be used: {error}");
    tracing::error!(slot = way.key.0, error = %error, "the model key in slot {} cannot be used", way.key.0);
    match error {
        CredentialError::Unavailable => Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "api_error",
            "credential_unavailable",
            message,
        ),
        CredentialError::Missing | CredentialError::Malformed | CredentialError::NotRenewed => {
            Refusal::new(
                StatusCode::FORBIDDEN,
                "permission_error",
                "credential_missing",
                message,
            )
        }
    }
}
