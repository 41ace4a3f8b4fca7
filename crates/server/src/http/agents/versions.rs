//! `GET /v1/agents/{agent_id}/versions`

use api::agent::Agent;
use api::page::Page;
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::Id;
use crate::http::query::Query;

pub(in crate::http) async fn versions(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    mut query: Query,
) -> Result<Json<Page<Agent>>, ApiError> {
    let wanted = query.page(20, 100)?;
    query.finish()?;
    let page = app
        .store
        .agents()
        .versions(&caller.realm, &id, wanted)
        .await?;
    super::page(&page.ok_or_else(|| super::not_found(&id))?).map(Json)
}
