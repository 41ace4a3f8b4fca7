//! `POST /v1/agents/{agent_id}/archive`

use api::agent::Agent;
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::Id;
use crate::http::query::Query;

pub(in crate::http) async fn archive(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    query: Query,
) -> Result<Json<Agent>, ApiError> {
    query.finish()?;
    let row = app
        .store
        .agents()
        .archive(&caller.realm, &id, app.clock.now())
        .await?;
    super::view(&row.ok_or_else(|| super::not_found(&id))?).map(Json)
}
