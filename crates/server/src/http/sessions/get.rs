//! `GET /v1/sessions/{session_id}`

use api::session::Session;
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::Id;
use crate::http::query::Query;

pub(in crate::http) async fn get(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    query: Query,
) -> Result<Json<Session>, ApiError> {
    query.finish()?;
    let row = app.store.sessions().get(&caller.realm, &id).await?;
    let mut session = super::view(&app, &row.ok_or_else(|| super::not_found(&id))?)?;
    // The row has what was used when the session last went idle.
    let active = session.usage.active_seconds;
    if let Some(usage) = app.sessions.usage(&id, active).await? {
        session.usage = usage;
    }
    Ok(Json(session))
}
