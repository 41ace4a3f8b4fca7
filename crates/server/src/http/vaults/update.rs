//! `POST /v1/vaults/{vault_id}`

use api::metadata::Metadata;
use api::vault::{UpdateVault, Vault};
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::{self, Id};
use crate::http::query::Query;

pub(in crate::http) async fn update(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    query: Query,
    extract::Json(request): extract::Json<UpdateVault>,
) -> Result<Json<Vault>, ApiError> {
    query.finish()?;
    let vaults = app.store.vaults();
    let row = vaults.get(&caller.realm, &id).await?;
    let row = row.ok_or_else(|| super::not_found(&id))?;
    if row.archived_at.is_some() {
        return Err(ApiError::invalid(
            "the vault is archived and cannot be changed",
        ));
    }
    let name = request
        .display_name
        .filter(|name| *name != row.display_name);
    let mut metadata: Metadata = serde_json::from_str(&row.metadata).map_err(ApiError::internal)?;
    if let Some(patch) = request.metadata {
        patch.apply(&mut metadata)?;
    }
    let metadata = serde_json::to_string(&metadata).map_err(ApiError::internal)?;
    let metadata = Some(metadata).filter(|metadata| *metadata != row.metadata);
    if name.is_none() && metadata.is_none() {
        return super::view(row).map(Json);
    }
    let at = app.clock.now();
    let row = vaults
        .update(&caller.realm, &id, name, metadata, at)
        .await?;
    super::view(row.ok_or_else(|| super::not_found(&id))?).map(Json)
}
