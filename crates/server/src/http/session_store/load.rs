//! `GET /v1/session_store/{project_key}/{session_id}`

use api::page::Page;
use axum::Json;
use axum::extract::State;
use serde_json::value::RawValue;

use super::Key;
use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::query::Query;

/// About how many bytes of entries one page has; a longer entry has a page for itself.
const PAGE: usize = 4 << 20;

pub(in crate::http) async fn load(
    State(app): State<App>,
    caller: Caller,
    Key(key): Key,
    mut query: Query,
) -> Result<Json<Page<Box<RawValue>>>, ApiError> {
    let subpath = super::subpath(&mut query)?;
    let page = query.text("page")?;
    query.finish()?;
    let after = match page {
        None => 0,
        Some(page) => position(&page)?,
    };
    let store = app.store.session_store();
    let found = store.load(&caller.realm, key, subpath, after, PAGE).await?;
    let entries =
        found.ok_or_else(|| ApiError::not_found("no entries were kept under this key"))?;
    let bodies = entries.bodies.into_iter().map(RawValue::from_string);
    Ok(Json(Page {
        data: bodies
            .collect::<Result<_, _>>()
            .map_err(ApiError::internal)?,
        next_page: entries.next.map(|position| position.to_string()),
    }))
}

fn position(page: &str) -> Result<i64, ApiError> {
    let position = page.parse().ok().filter(|position| *position > 0);
    position.ok_or_else(|| ApiError::invalid("page: must be a `next_page` of this list"))
}
