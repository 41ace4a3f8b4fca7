//! `DELETE /v1/session_store/{project_key}/{session_id}`

use api::page::Deleted;
use axum::Json;
use axum::extract::State;

use super::Key;
use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::query::Query;

/// Absent is success: the SDK's contract says so.
pub(in crate::http) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Key(key): Key,
    mut query: Query,
) -> Result<Json<Deleted>, ApiError> {
    let subpath = super::subpath(&mut query)?;
    query.finish()?;
    let id = key.session.clone();
    let store = app.store.session_store();
    store.delete(&caller.realm, key, subpath).await?;
    let kind = "session_store_entries_deleted".to_owned();
    Ok(Json(Deleted { id, kind }))
}
