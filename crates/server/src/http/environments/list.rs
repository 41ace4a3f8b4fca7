//! `GET /v1/environments`

use api::environment::Environment;
use api::page::Page;
use axum::Json;
use axum::extract::State;
use store::EnvironmentQuery;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::query::Query;

pub(in crate::http) async fn list(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<Environment>>, ApiError> {
    let wanted = EnvironmentQuery {
        include_archived: query.switch("include_archived")?,
        page: query.page(20, 1000)?,
    };
    query.finish()?;
    let page = app.store.environments().list(&caller.realm, wanted).await?;
    let data = page
        .rows
        .iter()
        .map(super::view)
        .collect::<Result<_, _>>()?;
    Ok(Json(Page {
        data,
        next_page: page.next,
    }))
}
