//! What handlers take out of a request: the caller, the path's id, the body.

use std::time::Duration;

use api::read::Read;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use futures::StreamExt;
use http::request::Parts;
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::rates::Wait;

/// The request's id, as in the `request-id` header.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

/// Lets only callers with a key in, and tells the envelope whose request it was.
pub(super) async fn authenticate(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match app.keys.caller(request.headers()).await {
        Ok(caller) => caller,
        Err(error) => return error.into_response(),
    };
    if let Err(Wait(wait)) = app.rates.take(&caller.key_id, Instant::now()) {
        let most = app.config.limits.requests_per_second.unwrap_or_default();
        let message = format!("this key makes more than {most} requests a second");
        return ApiError::too_fast(message, wait).into_response();
    }
    request.extensions_mut().insert(caller.clone());
    let mut response = next.run(request).await;
    response.extensions_mut().insert(caller);
    response
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, ApiError> {
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.ok_or_else(|| {
            ApiError::internal("a handler behind the key check was reached without it")
        })
    }
}

/// The one id in a path.
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Id, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        // Only bytes that are not UTF-8 get here, and no id has any.
        path.map(|Path(id)| Id(id))
            .map_err(|_| ApiError::not_found("no object has this id"))
    }
}

/// The two ids in a path, the outer one first.
pub(super) struct IdInId(pub(super) String, pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for IdInId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<IdInId, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        path.map(|Path((outer, id))| IdInId(outer, id))
            .map_err(|_| ApiError::not_found("no object has this id"))
    }
}

/// A JSON body, read strictly.
pub(super) struct Json<T>(pub(super) T);

impl<T: Read> FromRequest<App> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Json<T>, ApiError> {
        let bytes = read_bytes(request, app).await?;
        Ok(Json(api::read::body(&bytes)?))
    }
}

/// The whole body, unless it is too large. Of one that is, as much again is read and dropped before
/// the answer, so that a client which only then looks for it finds it instead of a broken pipe.
pub(super) async fn read_bytes(request: Request, app: &App) -> Result<Bytes, ApiError> {
    let limit = app.config.limits.request_bytes;
    let mut body = request.into_body().into_data_stream();
    let (mut bytes, mut dropped) = (BytesMut::new(), 0);
    let patience = Duration::from_millis(app.config.limits.body_timeout_ms);
    let deadline = Instant::now() + patience;
    loop {
        let chunk = timeout_at(deadline, body.next()).await;
        let Some(chunk) = chunk.map_err(|_| ApiError::too_slow(patience))? else {
            break;
        };
        let chunk = chunk.map_err(|error| {
            ApiError::invalid("the request body ended before it was complete").caused_by(error)
        })?;
        if dropped > 0 || bytes.len() + chunk.len() > limit {
            dropped += chunk.len() + std::mem::take(&mut bytes).len();
            if dropped > limit.saturating_mul(2) {
                break;
            }
        } else {
            bytes.extend_from_slice(&chunk);
        }
    }
    match dropped {
        0 => Ok(bytes.freeze()),
        _ => Err(ApiError::too_large(limit)),
    }
}
