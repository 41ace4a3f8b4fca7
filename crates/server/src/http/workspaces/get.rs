//! `GET /v1/workspaces/{workspace_id}`

use api::workspace::Workspace;
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::Id;
use crate::http::query::Query;

pub(in crate::http) async fn get(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    query: Query,
) -> Result<Json<Workspace>, ApiError> {
    query.finish()?;
    let row = app.store.workspaces().get(&caller.reach(), &id).await?;
    super::view(row.ok_or_else(|| super::not_found(&id))?).map(Json)
}
