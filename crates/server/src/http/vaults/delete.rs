//! `DELETE /v1/vaults/{vault_id}`

use api::page::Deleted;
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::Id;
use crate::http::query::Query;

pub(in crate::http) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    query: Query,
) -> Result<Json<Deleted>, ApiError> {
    query.finish()?;
    if !app.store.vaults().delete(&caller.realm, &id).await? {
        return Err(super::not_found(&id));
    }
    app.sessions
        .vaults_changed(caller.realm.workspace())
        .await?;
    Ok(Json(Deleted {
        id,
        kind: "vault_deleted".to_owned(),
    }))
}
