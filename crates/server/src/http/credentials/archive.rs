//! `POST /v1/vaults/{vault_id}/credentials/{credential_id}/archive`

use api::credential::Credential;
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::IdInId;
use crate::http::query::Query;

pub(in crate::http) async fn archive(
    State(app): State<App>,
    caller: Caller,
    IdInId(vault, id): IdInId,
    query: Query,
) -> Result<Json<Credential>, ApiError> {
    query.finish()?;
    let (credentials, at) = (app.store.credentials(), app.clock.now());
    let row = credentials.archive(&caller.realm, &vault, &id, at).await?;
    let row = row.ok_or_else(|| super::not_found(&vault, &id))?;
    app.sessions.vaults_changed(&row.workspace_id).await?;
    super::view(row).map(Json)
}
