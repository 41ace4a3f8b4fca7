//! `GET /v1/workspaces`

use api::page::Page;
use api::workspace::Workspace;
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::query::Query;

pub(in crate::http) async fn list(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<Workspace>>, ApiError> {
    let wanted = query.page(20, 1000)?;
    query.finish()?;
    let workspaces = app.store.workspaces();
    let page = workspaces.list(&caller.reach(), wanted).await?;
    let data = page.rows.into_iter().map(super::view);
    Ok(Json(Page {
        data: data.collect::<Result<_, _>>()?,
        next_page: page.next,
    }))
}
