//! `POST /v1/workspaces`

use api::id::Prefix;
use api::workspace::{CreateWorkspace, Workspace};
use axum::Json;
use axum::extract::State;
use store::WorkspaceRow;

use crate::app::App;
use crate::error::ApiError;
use crate::http::extract;
use crate::http::query::Query;

pub(in crate::http) async fn create(
    State(app): State<App>,
    query: Query,
    extract::Json(request): extract::Json<CreateWorkspace>,
) -> Result<Json<Workspace>, ApiError> {
    query.finish()?;
    let row = WorkspaceRow {
        id: app.ids.mint(Prefix::Workspace),
        name: request.name,
        max_sessions: request.limits.max_sessions,
        limits: super::text(&request.limits)?,
        created_at: app.clock.now(),
    };
    app.store.workspaces().create(row.clone()).await?;
    app.sessions.set_limits(&row.id, &request.limits);
    super::view(row).map(Json)
}
