//! `POST /v1/sessions/{session_id}/fork`, an extension: a new session from a point in this one's log.

use api::session::Session;
use api::session::fork::ForkSession;
use axum::Json;
use axum::extract::State;
use store::CreateSessionError;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::{self, Id};
use crate::http::query::Query;
use crate::session::fork::ForkError;

pub(in crate::http) async fn fork(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    query: Query,
    extract::Json(request): extract::Json<ForkSession>,
) -> Result<Json<Session>, ApiError> {
    query.finish()?;
    let forked = app.sessions.fork(&caller.realm, &id, request).await;
    let row = forked.map_err(|error| refusal(error, &id))?;
    super::view(&app, &row).map(Json)
}

fn refusal(error: ForkError, id: &str) -> ApiError {
    match error {
        ForkError::NotFound => super::not_found(id),
        ForkError::Busy { status } => ApiError::conflict(format!(
            "the session is {} and cannot be forked now; wait until it is idle, or send a user.interrupt",
            status.as_str()
        )),
        ForkError::Members => ApiError::invalid(format!(
            "workspace: {error}; fork it with `\"workspace\": \"empty\"`"
        )),
        ForkError::NoSuchEvent => ApiError::invalid(format!("event_id: {error}")),
        ForkError::Refused(CreateSessionError::EnvironmentArchived) => {
            super::create::environment_archived()
        }
        ForkError::Refused(CreateSessionError::AgentArchived) => super::create::agent_archived(),
        ForkError::Refused(quota @ CreateSessionError::Quota { .. }) => super::quota(&quota),
        ForkError::Store(error) => error.into(),
        failure @ (ForkError::Refused(_) | ForkError::Files(_) | ForkError::BadSnapshot { .. }) => {
            ApiError::internal(failure)
        }
    }
}
