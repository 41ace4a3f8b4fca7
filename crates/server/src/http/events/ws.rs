//! `GET /v1/sessions/{session_id}/events/ws`: the live end over a WebSocket, one event per message.
//!
//! Nothing is expected from the client: its messages are read, so that a close is noticed, and
//! dropped. The key comes in a header as everywhere; never in the address, which ends up in logs.

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::Id;
use crate::http::pass::Pass;
use crate::http::query::Query;
use crate::http::sessions;
use crate::session::feed::{Delivery, Subscription};

/// What a client may send in one message, which nobody reads.
const CLIENT_MESSAGE_BYTES: usize = 64 * 1024;

pub(in crate::http) async fn ws(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    mut query: Query,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let deltas = super::deltas(&mut query)?;
    let after = after(&mut query)?;
    query.finish()?;
    let upgrade = upgrade.map_err(|rejection| {
        ApiError::invalid("this path is a WebSocket: send the headers of an upgrade")
            .caused_by(rejection)
    })?;
    let subscribed = app
        .sessions
        .subscribe(&caller.realm, &id, after, deltas)
        .await;
    let subscription = subscribed.map_err(|error| sessions::refusal(error, &id, "read"))?;
    let upgrade = upgrade
        .max_message_size(CLIENT_MESSAGE_BYTES)
        .max_frame_size(CLIENT_MESSAGE_BYTES);
    let (lifecycle, pass) = (app.lifecycle.clone(), Pass::new(&app, caller));
    let relay = move |socket| lifecycle.track(relay(app, socket, subscription, pass));
    Ok(upgrade.on_upgrade(relay))
}

/// The number of the last event that the client has.
fn after(query: &mut Query) -> Result<Option<i64>, ApiError> {
    let Some(text) = query.text("after")? else {
        return Ok(None);
    };
    let number = text.parse().ok().filter(|number: &i64| *number >= 0);
    number.map(Some).ok_or_else(|| {
        ApiError::invalid("after: must be the number of an event, a whole number from 0")
    })
}

/// Sends until one side ends. A client that does not read stops this task at `send`, with one
/// event in hand.
async fn relay(app: App, mut socket: WebSocket, mut subscription: Subscription, mut pass: Pass) {
    let mut ping = interval_at(Instant::now() + app.ping, app.ping);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let code = loop {
        let message = tokio::select! {
            biased;
            () = app.lifecycle.stopping() => break close_code::AWAY,
            () = pass.over() => break close_code::POLICY,
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
            next = subscription.next() => match next {
                Ok(Some(delivery)) => message(&delivery),
                Ok(None) => break close_code::NORMAL,
                Err(error) => {
                    tracing::error!(error = %error, "cannot read a session's log for its socket");
                    break close_code::ERROR;
                }
            },
            _ = ping.tick() => Message::Ping(axum::body::Bytes::new()),
        };
        let sent = tokio::select! {
            biased;
            () = app.lifecycle.stopping() => break close_code::AWAY,
            sent = socket.send(message) => sent,
        };
        if sent.is_err() {
            return;
        }
    };
    let frame = CloseFrame {
        code,
        reason: Utf8Bytes::default(),
    };
    // Bounded: a client that does not read is not worth waiting for at the end.
    let farewell = tokio::time::timeout(app.ping, socket.send(Message::Close(Some(frame)))).await;
    drop(farewell);
}

fn message(delivery: &Delivery) -> Message {
    let text = Utf8Bytes::try_from(delivery.json.clone()).expect("an event was made from a string");
    Message::Text(text)
}
