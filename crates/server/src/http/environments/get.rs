//! `GET /v1/environments/{environment_id}`

use api::environment::Environment;
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
) -> Result<Json<Environment>, ApiError> {
    query.finish()?;
    let row = app.store.environments().get(&caller.realm, &id).await?;
    super::view(&row.ok_or_else(|| super::not_found(&id))?).map(Json)
}
