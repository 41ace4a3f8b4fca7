//! `GET /v1/session_store/{project_key}/{session_id}/subkeys`

use api::page::Page;
use axum::Json;
use axum::extract::State;

use super::Key;
use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::query::Query;

pub(in crate::http) async fn subkeys(
    State(app): State<App>,
    caller: Caller,
    Key(key): Key,
    query: Query,
) -> Result<Json<Page<String>>, ApiError> {
    query.finish()?;
    let store = app.store.session_store();
    Ok(Json(Page {
        data: store.subpaths(&caller.realm, key).await?,
        next_page: None,
    }))
}
