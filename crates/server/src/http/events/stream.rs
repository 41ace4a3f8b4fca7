//! `GET /v1/sessions/{session_id}/events/stream`: the live end as server-sent events.
//!
//! The body is asked for more only when the socket has room, so a reader that does not read costs
//! its socket's buffers and nothing else. The frames come rendered from the feed.

use api::error::ErrorType;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use bytes::BytesMut;
use futures::{FutureExt, Stream};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::{Id, RequestId};
use crate::http::pass::Pass;
use crate::http::query::Query;
use crate::http::sessions;
use crate::lifecycle::Lifecycle;
use crate::session::feed::Subscription;

/// Ignored by the official clients; keeps proxies from closing a silent connection.
const PING: Bytes = Bytes::from_static(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");

/// Frames are put together up to this size, so that a replay is not one write per event.
const BATCH_BYTES: usize = 32 * 1024;

pub(in crate::http) async fn stream(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    mut query: Query,
    axum::Extension(RequestId(request_id)): axum::Extension<RequestId>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let deltas = super::deltas(&mut query)?;
    query.finish()?;
    let after = last_event_id(&headers)?;
    let subscribed = app
        .sessions
        .subscribe(&caller.realm, &id, after, deltas)
        .await;
    let subscription = subscribed.map_err(|error| sessions::refusal(error, &id, "read"))?;
    let mut ping = interval_at(Instant::now() + app.ping, app.ping);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reader = Reader {
        subscription,
        ping,
        pass: Pass::new(&app, caller),
        lifecycle: app.lifecycle.clone(),
        request_id,
    };
    let response = Response::builder()
        .header(CONTENT_TYPE, "text/event-stream")
        .header(CACHE_CONTROL, "no-cache")
        // Asks nginx not to collect the stream.
        .header("x-accel-buffering", "no")
        .body(Body::from_stream(frames(reader)));
    response.map_err(ApiError::internal)
}

/// Where a returning reader goes on.
fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>, ApiError> {
    let Some(value) = headers
        .get("last-event-id")
        .filter(|value| !value.is_empty())
    else {
        return Ok(None);
    };
    let number = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .filter(|number: &i64| *number >= 0);
    let refuse =
        || ApiError::invalid("last-event-id: must be an id that this stream sent, a whole number");
    number.map(Some).ok_or_else(refuse)
}

/// One connection's place in the stream.
struct Reader {
    subscription: Subscription,
    ping: Interval,
    pass: Pass,
    lifecycle: Lifecycle,
    request_id: String,
}

fn frames(reader: Reader) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
    futures::stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Next::Frames(bytes) => {
                reader.ping.reset();
                Some((Ok(bytes), Some(reader)))
            }
            Next::Ping => Some((Ok(PING), Some(reader))),
            Next::Failed(bytes) => Some((Ok(bytes), None)),
            Next::End => None,
        }
    })
}

enum Next {
    Frames(Bytes),
    Ping,
    Failed(Bytes),
    End,
}

impl Reader {
    async fn next(&mut self) -> Next {
        tokio::select! {
            biased;
            () = self.lifecycle.stopping() => Next::End,
            () = self.pass.over() => Next::End,
            next = self.subscription.next() => match next {
                Ok(Some(delivery)) => Next::Frames(self.batch(delivery.sse)),
                Ok(None) => Next::End,
                Err(error) => {
                    tracing::error!(request.id = self.request_id, error = %error, "cannot read a session's log for its stream");
                    Next::Failed(failure(&self.request_id))
                }
            },
            _ = self.ping.tick() => Next::Ping,
        }
    }

    /// The frame and those that can be had without waiting, up to the batch's size.
    fn batch(&mut self, first: Bytes) -> Bytes {
        if first.len() >= BATCH_BYTES {
            return first;
        }
        let mut batch = BytesMut::from(first);
        while batch.len() < BATCH_BYTES {
            // Nothing is lost when a wait is given up, and an end or error comes again.
            match self.subscription.next().now_or_never() {
                Some(Ok(Some(delivery))) => batch.extend_from_slice(&delivery.sse),
                Some(Ok(None) | Err(_)) | None => break,
            }
        }
        batch.freeze()
    }
}

/// The stream itself failed: an error body as the last frame.
fn failure(request_id: &str) -> Bytes {
    let body = ApiError::internal("the log could not be read").body(request_id);
    debug_assert_eq!(body.error.kind, ErrorType::ApiError);
    let json = serde_json::to_string(&body).expect("an error body holds only strings");
    Bytes::from(format!("event: error\ndata: {json}\n\n"))
}
