//! `DELETE /v1/files/{file_id}`

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
    if !app.store.files().delete(&caller.realm, &id).await? {
        return Err(super::not_found(&id));
    }
    // The row is gone and with it the file; content that stays is removed by the next sweep.
    if let Err(error) = app.blobs.remove(&id).await {
        tracing::warn!(
            file.id = id,
            error = &error as &dyn std::error::Error,
            "cannot remove the content of file {id} now"
        );
    }
    Ok(Json(Deleted {
        id,
        kind: "file_deleted".to_owned(),
    }))
}
