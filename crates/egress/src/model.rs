//! The model way: an HTTP server that a sandbox reaches as the model API.
//!
//! It lets a short list of paths through and nothing else; where they go is
//! fixed by configuration, so the request's own host means nothing. Bounds: 64
//! calls of a client at once (the next waits), 32 MB a request body (413), 100
//! headers and 64 KiB a request head (431).

mod route;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, info};

use self::route::Route;
use crate::answer::Refusal;
use crate::config::{Config, ConfigError, KeyHeader};
use crate::forward::{Answer, Bill, Call, Outgoing, Passing, Upstream, too_large};
use crate::idle::Activity;
use crate::inject;
use crate::secret::{CredentialError, Placeholder, Slot};
use crate::turnstile::Turnstile;
use crate::usage::{Admission, ClientId};
use crate::windows::{Credentials, Policies, Windows};

/// Calls of one client under way at once. A session with subagents has about
/// ten; this leaves room and still bounds what one sandbox can hold upstream.
const MAX_CALLS: usize = 64;

/// Bound of a request body, the public API's own.
const MAX_REQUEST: u64 = 32 * 1024 * 1024;

/// Bounds of a request head. The CLI sends about 25 headers in 2 kB.
const MAX_HEADERS: usize = 100;
const MAX_HEAD: usize = 64 * 1024;

/// How long a connection may wait for a request. Long, since clients keep idle
/// connections and do not like to lose them; it only clears out forgotten ones.
const HEAD_TIMEOUT: Duration = Duration::from_secs(600);

/// Everything the model way needs.
pub(crate) struct ModelWay {
    upstream: Upstream,
    bill: Arc<Bill>,
    policies: Arc<dyn Policies>,
    credentials: Arc<dyn Credentials>,
    key: Slot,
    key_header: KeyHeader,
    turnstile: Turnstile,
    clock: fn() -> SystemTime,
}

impl ModelWay {
    pub(crate) fn new(config: Config, windows: Windows) -> Result<Self, ConfigError> {
        Ok(Self {
            upstream: Upstream::new(&config)?,
            bill: Arc::new(Bill {
                usage: windows.usage,
                prices: config.prices,
            }),
            policies: windows.policies,
            credentials: windows.credentials,
            key: config.key,
            key_header: config.key_header,
            turnstile: Turnstile::new(MAX_CALLS),
            clock: windows.clock,
        })
    }
}

/// Serves one connection until its end.
pub(crate) async fn serve<I>(way: Arc<ModelWay>, client: ClientId, seat: Option<Placeholder>, io: I)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let places = way.turnstile.of(&client);
    let seat = seat.as_ref();
    let service = service_fn(|request| {
        let (way, places, client) = (Arc::clone(&way), Arc::clone(&places), client.clone());
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
    places: Arc<Semaphore>,
    request: Request<Incoming>,
) -> Response<Answer> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let refusal = match Route::of(&method, &path) {
        Ok(route) => {
            let mut call = route.is_call().then(|| {
                let free = route == Route::CountTokens;
                Call::new(
                    Arc::clone(&way.bill),
                    client.clone(),
                    &path,
                    free,
                    (way.clock)(),
                )
            });
            match forward(way, &client, places, route, request, &mut call).await {
                Ok(response) => return response,
                Err(refusal) => {
                    if let Some(mut call) = call {
                        call.failed(refusal.cause, Some(refusal.status));
                    }
                    refusal
                }
            }
        }
        Err(refusal) => refusal,
    };
    refused(&client, &path, &refusal)
}

/// The answer that egress gives itself, and its line in the log.
fn refused(client: &ClientId, path: &str, refusal: &Refusal) -> Response<Answer> {
    let shown: String = path.chars().take(200).collect();
    info!(
        client.id = %client, path = shown, rule = refusal.cause, verdict = "refused",
        "refused a model request of {client}: {}", refusal.cause
    );
    refusal.response().map(Answer::Ours)
}

/// Sends a request that has a route and hands back the head of the answer.
async fn forward(
    way: &ModelWay,
    client: &ClientId,
    places: Arc<Semaphore>,
    route: Route,
    request: Request<Incoming>,
    call: &mut Option<Call>,
) -> Result<Response<Answer>, Refusal> {
    if way.policies.of(client).is_none() {
        return Err(unknown_client());
    }
    if request.body().size_hint().lower() > MAX_REQUEST {
        return Err(too_large());
    }
    let place = places
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    if route.is_call() {
        admit(way, client)?;
    }
    let (mut parts, body) = request.into_parts();
    let key = match route.takes_key() {
        true => Some(
            way.credentials
                .resolve(&way.key)
                .await
                .map_err(|e| no_key(way, &e))?,
        ),
        false => None,
    };
    inject::model_request(
        &mut parts.headers,
        key.as_ref().map(|key| (way.key_header, key)),
    )
    .map_err(|error| no_key(way, &error))?;
    drop(key);
    let activity = Activity::new();
    let asked = call.as_ref().map(Call::asked);
    let body = Outgoing::new(body, MAX_REQUEST, activity.clone(), asked);
    let request = Request::from_parts(parts, body);
    let response = way.upstream.send(request, &activity).await?;
    Ok(passing(way, response, call.take(), place))
}

/// The answer on its way back, its record and its place with it.
fn passing(
    way: &ModelWay,
    response: Response<Incoming>,
    mut call: Option<Call>,
    place: OwnedSemaphorePermit,
) -> Response<Answer> {
    let (mut parts, body) = response.into_parts();
    if let Some(call) = &mut call {
        call.answered(parts.status, &parts.headers);
    }
    inject::model_response(&mut parts.headers);
    // Extensions of the upstream connection are not the client's.
    parts.extensions.clear();
    let body = Passing::new(body, call, way.upstream.idle_timeout(), place);
    Response::from_parts(parts, Answer::Theirs(body))
}

fn admit(way: &ModelWay, client: &ClientId) -> Result<(), Refusal> {
    match way.bill.usage.admit(client) {
        Admission::Allow => Ok(()),
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
        CredentialError::Missing | CredentialError::Malformed => Refusal::new(
            StatusCode::FORBIDDEN,
            "permission_error",
            "credential_missing",
            message,
        ),
    }
}
