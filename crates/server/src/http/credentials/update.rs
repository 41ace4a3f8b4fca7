//! `POST /v1/vaults/{vault_id}/credentials/{credential_id}`

use api::credential::{Credential, UpdateCredential};
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::{self, IdInId};
use crate::http::query::Query;
use crate::vaults::ChangeError;

pub(in crate::http) async fn update(
    State(app): State<App>,
    caller: Caller,
    IdInId(vault, id): IdInId,
    query: Query,
    extract::Json(request): extract::Json<UpdateCredential>,
) -> Result<Json<Credential>, ApiError> {
    query.finish()?;
    let changed = app.vaults.update(&caller.realm, &vault, &id, request).await;
    let row = changed.map_err(|error| match error {
        ChangeError::NotFound => super::not_found(&vault, &id),
        error => error.into(),
    })?;
    app.sessions.vaults_changed(&row.workspace_id).await?;
    super::view(row).map(Json)
}
