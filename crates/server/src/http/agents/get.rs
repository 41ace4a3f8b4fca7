//! `GET /v1/agents/{agent_id}`

use api::agent::Agent;
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
    mut query: Query,
) -> Result<Json<Agent>, ApiError> {
    let version = query.number("version", 1, u32::MAX)?;
    query.finish()?;
    let row = app.store.agents().get(&caller.realm, &id, version).await?;
    match (row, version) {
        (Some(row), _) => super::view(&row).map(Json),
        (None, None) => Err(super::not_found(&id)),
        (None, Some(version)) => {
            let id = api::read::quoted(&id);
            Err(ApiError::not_found(format!(
                "no agent has the id {id} and a version {version}"
            )))
        }
    }
}
