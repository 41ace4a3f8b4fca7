//! What every answer has, whatever happened: a request id, a body in the contract's shape when it
//! is an error, and one line in the log. A panic of a handler ends here, too.
//!
//! The line never holds a body, a key or a query: `docs/LOGGING.md` lists its fields.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use api::id::Prefix;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method};
use tracing::{error, info};

use super::extract::RequestId;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::ids::Ids;

/// The outermost layer.
pub(super) async fn wrap(State(ids): State<Ids>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let line = Line::of(&request);
    let id = ids.mint(Prefix::Request);
    request.extensions_mut().insert(RequestId(id.clone()));
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut response =
        answered.unwrap_or_else(|_| ApiError::internal("the handler panicked").into_response());
    let failure = response.extensions_mut().remove::<Arc<ApiError>>();
    if let Some(failure) = &failure {
        write_error(&mut response, failure, &id);
    }
    write_headers(&mut response, &id);
    line.log(&response, failure.as_deref(), &id, started);
    response
}

/// Replaces the body of an error answer.
fn write_error(response: &mut Response, failure: &ApiError, id: &str) {
    let body = serde_json::to_vec(&failure.body(id)).expect("an error body holds only strings");
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.remove(CONTENT_LENGTH);
    if let Some(retry) = failure.retry() {
        headers.insert("x-should-retry", retry);
    }
    if let Some(wait) = failure.wait() {
        headers.insert(RETRY_AFTER, wait);
    }
    *response.body_mut() = Body::from(body);
}

fn write_headers(response: &mut Response, id: &str) {
    let caller = response.extensions_mut().remove::<Caller>();
    let headers = response.headers_mut();
    headers.insert(
        "request-id",
        HeaderValue::from_str(id).expect("an id is letters, digits and `_`"),
    );
    if let Some(workspace) = caller
        .as_ref()
        .and_then(|caller| HeaderValue::from_str(caller.realm.workspace()).ok())
    {
        headers.insert("anthropic-workspace-id", workspace);
    }
    if let Some(caller) = caller {
        response.extensions_mut().insert(caller);
    }
}

/// What the log line says about the request.
struct Line {
    method: Method,
    /// The route with its placeholders, so that ids do not make every line different.
    route: Option<MatchedPath>,
    retries: Option<HeaderValue>,
}

impl Line {
    fn of(request: &Request) -> Line {
        Line {
            method: request.method().clone(),
            route: request.extensions().get::<MatchedPath>().cloned(),
            retries: request.headers().get("x-stainless-retry-count").cloned(),
        }
    }

    fn log(&self, response: &Response, failure: Option<&ApiError>, id: &str, started: Instant) {
        let status = response.status().as_u16();
        let method = self.method.as_str();
        let route = self.route.as_ref().map_or("none", MatchedPath::as_str);
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let caller = response.extensions().get::<Caller>();
        let workspace = caller.map_or("none", |caller| caller.realm.workspace());
        let key = caller.map_or("none", |caller| caller.key_id.as_str());
        let retries = self
            .retries
            .as_ref()
            .and_then(|count| count.to_str().ok())
            .unwrap_or("0");
        match failure.filter(|_| status >= 500) {
            Some(failure) => error!(
                request.id = id,
                request.method = method,
                request.route = route,
                request.retries = retries,
                workspace.id = workspace,
                key.id = key,
                response.status = status,
                response.micros = micros,
                error = failure.chain(),
                "{method} {route} answered {status}"
            ),
            None => info!(
                request.id = id,
                request.method = method,
                request.route = route,
                request.retries = retries,
                workspace.id = workspace,
                key.id = key,
                response.status = status,
                response.micros = micros,
                "{method} {route} answered {status}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower_service::Service;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_answer_like_any_other_failure() {
        async fn panics() -> &'static str {
            panic!("a secret")
        }
        let layer = from_fn_with_state(Ids::counted(), wrap);
        let mut router: Router = Router::new().route("/", get(panics)).layer(layer);
        let response = Service::<Request>::call(&mut router, Request::default())
            .await
            .unwrap();
        assert_eq!(response.status().as_u16(), 500);
        assert_eq!(
            response.headers()["request-id"],
            "req_011111111111111111111112"
        );
        let body = axum::body::to_bytes(response.into_body(), 4096)
            .await
            .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["type"], "api_error");
        assert_eq!(body["request_id"], "req_011111111111111111111112");
        assert!(!body.to_string().contains("a secret"));
    }
}
