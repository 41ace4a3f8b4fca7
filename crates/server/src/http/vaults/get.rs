//! `GET /v1/vaults/{vault_id}`

use api::vault::Vault;
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
) -> Result<Json<Vault>, ApiError> {
    query.finish()?;
    let row = app.store.vaults().get(&caller.realm, &id).await?;
    super::view(row.ok_or_else(|| super::not_found(&id))?).map(Json)
}
