//! `POST /v1/vaults/{vault_id}/archive`

use api::vault::Vault;
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::Id;
use crate::http::query::Query;

pub(in crate::http) async fn archive(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    query: Query,
) -> Result<Json<Vault>, ApiError> {
    query.finish()?;
    let at = app.clock.now();
    let row = app.store.vaults().archive(&caller.realm, &id, at).await?;
    let row = row.ok_or_else(|| super::not_found(&id))?;
    app.sessions.vaults_changed(&row.workspace_id).await?;
    super::view(row).map(Json)
}
