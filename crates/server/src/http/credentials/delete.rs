//! `DELETE /v1/vaults/{vault_id}/credentials/{credential_id}`

use api::page::Deleted;
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::IdInId;
use crate::http::query::Query;

pub(in crate::http) async fn delete(
    State(app): State<App>,
    caller: Caller,
    IdInId(vault, id): IdInId,
    query: Query,
) -> Result<Json<Deleted>, ApiError> {
    query.finish()?;
    let credentials = app.store.credentials();
    if !credentials.delete(&caller.realm, &vault, &id).await? {
        return Err(super::not_found(&vault, &id));
    }
    app.sessions
        .vaults_changed(caller.realm.workspace())
        .await?;
    Ok(Json(Deleted {
        id,
        kind: "vault_credential_deleted".to_owned(),
    }))
}
