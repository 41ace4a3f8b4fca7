//! `POST /v1/workspaces/{workspace_id}`

use api::workspace::{UpdateWorkspace, Workspace};
use axum::Json;
use axum::extract::State;
use store::WorkspaceRow;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::{self, Id};
use crate::http::query::Query;

pub(in crate::http) async fn update(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    query: Query,
    extract::Json(request): extract::Json<UpdateWorkspace>,
) -> Result<Json<Workspace>, ApiError> {
    query.finish()?;
    let workspaces = app.store.workspaces();
    let row = workspaces.get(&caller.reach(), &id).await?;
    let row = row.ok_or_else(|| super::not_found(&id))?;
    let limits = super::limits(&row)?.changed(request.limits);
    let row = WorkspaceRow {
        name: request.name.unwrap_or(row.name),
        max_sessions: limits.max_sessions,
        limits: super::text(&limits)?,
        ..row
    };
    let row = workspaces.update(row).await?;
    app.sessions.set_limits(&id, &limits);
    super::view(row.ok_or_else(|| super::not_found(&id))?).map(Json)
}
