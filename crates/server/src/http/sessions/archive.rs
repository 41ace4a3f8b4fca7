//! `POST /v1/sessions/{session_id}/archive`

use api::session::Session;
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
) -> Result<Json<Session>, ApiError> {
    query.finish()?;
    let archived = app.sessions.archive(&caller.realm, &id).await;
    let row = archived.map_err(|error| super::refusal(error, &id, "archived"))?;
    super::view(&app, &row).map(Json)
}
