//! `GET /v1/vaults/{vault_id}/credentials/{credential_id}`

use api::credential::Credential;
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::IdInId;
use crate::http::query::Query;

pub(in crate::http) async fn get(
    State(app): State<App>,
    caller: Caller,
    IdInId(vault, id): IdInId,
    query: Query,
) -> Result<Json<Credential>, ApiError> {
    query.finish()?;
    let credentials = app.store.credentials();
    let row = credentials.get(&caller.realm, &vault, &id).await?;
    super::view(row.ok_or_else(|| super::not_found(&vault, &id))?).map(Json)
}
