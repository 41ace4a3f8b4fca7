//! `POST /v1/agents/{agent_id}`

use api::agent::{Agent, UpdateAgent};
use axum::Json;
use axum::extract::State;
use store::{AddVersionError, AgentRow};

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::{self, Id};
use crate::http::query::Query;

/// How often a change is merged again because somebody else's came between reading and writing.
const ATTEMPTS: usize = 5;

pub(in crate::http) async fn update(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    query: Query,
    extract::Json(request): extract::Json<UpdateAgent>,
) -> Result<Json<Agent>, ApiError> {
    query.finish()?;
    for _ in 0..ATTEMPTS {
        if let Some(row) = attempt(&app, &caller, &id, request.clone()).await? {
            return super::view(&row).map(Json);
        }
    }
    Err(ApiError::too_many(
        "this agent is being changed by too many callers at once",
    ))
}

/// Merges and writes; `None` when somebody else wrote in between.
async fn attempt(
    app: &App,
    caller: &Caller,
    id: &str,
    request: UpdateAgent,
) -> Result<Option<AgentRow>, ApiError> {
    let agents = app.store.agents();
    let row = agents
        .get(&caller.realm, id, None)
        .await?
        .ok_or_else(|| super::not_found(id))?;
    if row.archived_at.is_some() {
        return Err(archived());
    }
    if let Some(version) = request.version.filter(|version| *version != row.version) {
        return Err(conflict(version, row.version));
    }
    let stored = super::definition(&row)?;
    let definition = request.apply(&stored)?;
    if definition == stored {
        return Ok(Some(row));
    }
    let body = serde_json::to_string(&definition).map_err(ApiError::internal)?;
    match agents
        .add_version(&caller.realm, id, Some(row.version), body, app.clock.now())
        .await
    {
        Ok(row) => Ok(Some(row)),
        Err(AddVersionError::NotFound) => Err(super::not_found(id)),
        Err(AddVersionError::Archived) => Err(archived()),
        Err(AddVersionError::VersionMismatch { .. }) => Ok(None),
        Err(AddVersionError::Store(error)) => Err(error.into()),
    }
}

fn archived() -> ApiError {
    ApiError::invalid("the agent is archived and cannot be changed")
}

fn conflict(given: u32, current: u32) -> ApiError {
    ApiError::conflict(format!(
        "version: the agent is at version {current}, not {given}; read it again and repeat"
    ))
}
