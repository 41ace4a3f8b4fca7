//! `POST /v1/sessions/{session_id}/events`

use api::client_event::SendEvents;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::{self, Id};
use crate::http::query::Query;
use crate::http::sessions;
use crate::session::SendError;

/// The events as they were queued.
#[derive(Serialize)]
pub(in crate::http) struct Sent {
    data: Vec<Box<RawValue>>,
}

pub(in crate::http) async fn send(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    query: Query,
    extract::Json(request): extract::Json<SendEvents>,
) -> Result<Json<Sent>, ApiError> {
    query.finish()?;
    let admitted = app
        .sessions
        .admit(caller.realm.workspace(), request.events.len());
    admitted.map_err(ApiError::from)?;
    let sent = app.sessions.send(&caller.realm, &id, &request.events).await;
    let data = sent.map_err(|error| refusal(error, &id))?;
    Ok(Json(Sent { data }))
}

fn refusal(error: SendError, id: &str) -> ApiError {
    match error {
        SendError::NotFound => sessions::not_found(id),
        SendError::Closed { status } => ApiError::invalid(format!(
            "the session is {} and takes no more events",
            status.as_str()
        )),
        SendError::Invalid { index, message } => {
            ApiError::invalid(format!("events.{index}: {message}"))
        }
        SendError::TooMany { .. } => ApiError::too_many(error.to_string()),
        SendError::Store(error) => error.into(),
    }
}
