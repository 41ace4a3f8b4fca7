//! `DELETE /v1/sessions/{session_id}`

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
    let deleted = app.sessions.delete(&caller.realm, &id).await;
    deleted.map_err(|error| super::refusal(error, &id, "deleted"))?;
    Ok(Json(Deleted {
        id,
        kind: "session_deleted".to_owned(),
    }))
}
