//! `GET /v1/api_keys/{api_key_id}`

use api::api_key::ApiKey;
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
) -> Result<Json<ApiKey>, ApiError> {
    query.finish()?;
    let row = app.store.keys().get(&caller.reach(), &id).await?;
    let row = row.ok_or_else(|| super::not_found(&id))?;
    super::view(row, app.clock.now()).map(Json)
}
