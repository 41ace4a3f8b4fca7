//! `POST /v1/vaults`

use api::id::Prefix;
use api::vault::{CreateVault, Vault};
use axum::Json;
use axum::extract::State;
use store::VaultRow;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract;
use crate::http::query::Query;

pub(in crate::http) async fn create(
    State(app): State<App>,
    caller: Caller,
    query: Query,
    extract::Json(request): extract::Json<CreateVault>,
) -> Result<Json<Vault>, ApiError> {
    query.finish()?;
    let at = app.clock.now();
    let row = VaultRow {
        id: app.ids.mint(Prefix::Vault),
        workspace_id: caller.realm.workspace().to_owned(),
        display_name: request.display_name,
        metadata: serde_json::to_string(&request.metadata).map_err(ApiError::internal)?,
        created_at: at,
        updated_at: at,
        archived_at: None,
    };
    app.store.vaults().create(row.clone()).await?;
    super::view(row).map(Json)
}
