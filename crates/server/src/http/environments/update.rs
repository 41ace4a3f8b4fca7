//! `POST /v1/environments/{environment_id}`

use api::environment::{Environment, UpdateEnvironment};
use axum::Json;
use axum::extract::State;
use store::{EnvironmentRow, UpdateEnvironmentError};

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
    extract::Json(request): extract::Json<UpdateEnvironment>,
) -> Result<Json<Environment>, ApiError> {
    query.finish()?;
    for _ in 0..ATTEMPTS {
        if let Some(row) = attempt(&app, &caller, &id, request.clone()).await? {
            return super::view(&row).map(Json);
        }
    }
    Err(ApiError::too_many(
        "this environment is being changed by too many callers at once",
    ))
}

/// Merges and writes; `None` when somebody else wrote in between.
async fn attempt(
    app: &App,
    caller: &Caller,
    id: &str,
    request: UpdateEnvironment,
) -> Result<Option<EnvironmentRow>, ApiError> {
    let environments = app.store.environments();
    let row = environments
        .get(&caller.realm, id)
        .await?
        .ok_or_else(|| super::not_found(id))?;
    if row.archived_at.is_some() {
        return Err(archived());
    }
    let stored = super::definition(&row)?;
    let definition = request.apply(&stored)?;
    if definition == stored {
        return Ok(Some(row));
    }
    let body = serde_json::to_string(&definition).map_err(ApiError::internal)?;
    match environments
        .update(
            &caller.realm,
            id,
            Some(row.revision),
            body,
            super::keep(&definition),
            app.clock.now(),
        )
        .await
    {
        Ok(row) => {
            app.sessions.forget_spares(id);
            app.sessions.environment_says(&row);
            Ok(Some(row))
        }
        Err(UpdateEnvironmentError::NotFound) => Err(super::not_found(id)),
        Err(UpdateEnvironmentError::Archived) => Err(archived()),
        Err(UpdateEnvironmentError::RevisionMismatch { .. }) => Ok(None),
        Err(UpdateEnvironmentError::Store(error)) => Err(error.into()),
    }
}

fn archived() -> ApiError {
    ApiError::invalid("the environment is archived and cannot be changed")
        .with_code("environment_archived")
}
