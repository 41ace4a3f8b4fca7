//! Calls from web pages of other origins: those that are listed, and by default none. Then no header of
//! this kind is ever sent, and browsers keep pages away by themselves.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::app::App;

/// What a page may read of an answer besides its body.
const EXPOSED: &str = "request-id, anthropic-workspace-id, retry-after, x-should-retry";
/// How long a browser remembers what it may do, in seconds.
const REMEMBERED: &str = "600";

/// Answers what browsers ask beforehand, and lets listed pages read answers.
pub(super) async fn answer(State(app): State<App>, request: Request, next: Next) -> Response {
    let origin = listed(&app, request.headers());
    let mut response = match (&origin, is_asked_beforehand(&request)) {
        // Without a key: browsers send none with this question.
        (Some(_), true) => beforehand(&request),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED),
        );
    }
    response
}

fn listed(app: &App, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    let mut origins = app.config.cors.origins.iter();
    let known = origins.any(|known| known.as_bytes() == origin.as_bytes());
    known.then(|| origin.clone())
}

fn is_asked_beforehand(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn beforehand(request: &Request) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    // What is sent is judged when it comes.
    let wanted = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS);
    let headers = response.headers_mut();
    if let Some(wanted) = wanted {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    let methods = HeaderValue::from_static("GET, POST, DELETE");
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBERED));
    response
}
