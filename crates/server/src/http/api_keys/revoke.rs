//! `POST /v1/api_keys/{api_key_id}/revoke`

use api::api_key::ApiKey;
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::Id;
use crate::http::query::Query;

pub(in crate::http) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    query: Query,
) -> Result<Json<ApiKey>, ApiError> {
    query.finish()?;
    let now = app.clock.now();
    let row = app.store.keys().revoke(&caller.reach(), &id, now).await?;
    let row = row.ok_or_else(|| super::not_found(&id))?;
    super::view(row, now).map(Json)
}
