//! `GET /v1/agents`

use api::agent::Agent;
use api::page::Page;
use axum::Json;
use axum::extract::State;
use store::AgentQuery;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::query::Query;

pub(in crate::http) async fn list(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<Agent>>, ApiError> {
    let wanted = AgentQuery {
        created: query.created_at(&["gte", "lte"])?,
        include_archived: query.switch("include_archived")?,
        page: query.page(20, 100)?,
    };
    query.finish()?;
    let page = app.store.agents().list(&caller.realm, wanted).await?;
    super::page(&page).map(Json)
}
