//! `GET /v1/api_keys`

use api::api_key::ApiKey;
use api::page::Page;
use axum::Json;
use axum::extract::State;
use store::KeyQuery;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::query::Query;

pub(in crate::http) async fn list(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<ApiKey>>, ApiError> {
    let wanted = KeyQuery {
        workspace_id: query.text("workspace_id")?,
        include_revoked: query.switch("include_revoked")?,
        page: query.page(20, 1000)?,
    };
    query.finish()?;
    let page = app.store.keys().list(&caller.reach(), wanted).await?;
    let now = app.clock.now();
    let rows = page.rows.into_iter();
    let data = rows.map(|row| super::view(row, now));
    Ok(Json(Page {
        data: data.collect::<Result<_, _>>()?,
        next_page: page.next,
    }))
}
