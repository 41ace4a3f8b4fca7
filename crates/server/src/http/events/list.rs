//! `GET /v1/sessions/{session_id}/events`

use api::page::Page;
use api::read::quoted;
use axum::Json;
use axum::extract::State;
use serde_json::value::RawValue;
use store::{EventQuery, Order};

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::Id;
use crate::http::query::Query;
use crate::http::sessions;

/// Events on a page when the request does not say; the contract names no number.
const DEFAULT_LIMIT: u32 = 100;

pub(in crate::http) async fn list(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    mut query: Query,
) -> Result<Json<Page<Box<RawValue>>>, ApiError> {
    let wanted = EventQuery {
        order: query.order(Order::Asc)?,
        kinds: kinds(&mut query)?,
        processed: query.created_at(&["gt", "gte", "lt", "lte"])?,
        page: query.page(DEFAULT_LIMIT, 1000)?,
    };
    query.finish()?;
    let page = app.store.events().list(&caller.realm, &id, wanted).await?;
    let page = page.ok_or_else(|| sessions::not_found(&id))?;
    // Bytes as they are in the log: what is listed is what was streamed.
    let raw = |event: &store::Listed| {
        RawValue::from_string(event.body().to_string()).map_err(ApiError::internal)
    };
    let data = page.rows.iter().map(raw).collect::<Result<_, _>>()?;
    Ok(Json(Page {
        data,
        next_page: page.next,
    }))
}

fn kinds(query: &mut Query) -> Result<Vec<String>, ApiError> {
    let kinds = query.list("types");
    match kinds
        .iter()
        .find(|kind| !api::event::LISTED.contains(&kind.as_str()))
    {
        Some(kind) => Err(ApiError::invalid(format!(
            "types[]: no event that is listed has the type {}",
            quoted(kind)
        ))),
        None => Ok(kinds),
    }
}
