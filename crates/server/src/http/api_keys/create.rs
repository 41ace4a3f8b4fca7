//! `POST /v1/api_keys`

use api::api_key::CreateApiKey;
use axum::Json;
use axum::extract::State;
use store::{InsertKeyError, KeyRow};

use super::Made;
use crate::app::App;
use crate::auth::{Caller, Fresh};
use crate::error::ApiError;
use crate::http::query::Query;
use crate::http::{environments, extract};

pub(in crate::http) async fn create(
    State(app): State<App>,
    caller: Caller,
    query: Query,
    extract::Json(request): extract::Json<CreateApiKey>,
) -> Result<Json<Made>, ApiError> {
    query.finish()?;
    let now = app.clock.now();
    if request.expires_at.is_some_and(|at| at.0 <= now) {
        return Err(ApiError::invalid("expires_at: must be in the future"));
    }
    let own = || caller.realm.workspace().to_owned();
    let workspace = request.workspace_id.unwrap_or_else(own);
    let workspaces = app.store.workspaces();
    let found = workspaces.get(&caller.reach(), &workspace).await?;
    if found.is_none() {
        return Err(crate::http::workspaces::not_found(&workspace));
    }
    let fresh = Fresh::new(&app.ids);
    let row = KeyRow {
        id: fresh.id,
        workspace_id: workspace,
        environment_id: request.environment_id,
        name: request.name,
        scope: request.scope.as_str().to_owned(),
        sha256: fresh.sha256,
        hint: fresh.hint,
        created_at: now,
        expires_at: request.expires_at.map(|at| at.0),
        revoked_at: None,
        last_used_at: None,
    };
    match app.store.keys().insert(row.clone()).await {
        Ok(()) => Made::new(row, &fresh.secret, now).map(Json),
        // Workspaces are never deleted, so it is the environment that is not there.
        Err(InsertKeyError::NotFound) => {
            let environment = row.environment_id.unwrap_or_default();
            Err(environments::not_found(&environment))
        }
        Err(InsertKeyError::Store(error)) => Err(error.into()),
    }
}
