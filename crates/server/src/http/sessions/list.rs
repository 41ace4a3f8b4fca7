//! `GET /v1/sessions`

use api::page::BidirectionalPage;
use api::read::quoted;
use api::session::Session;
use axum::Json;
use axum::extract::State;
use store::{Order, SessionQuery, Status};

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::query::Query;

pub(in crate::http) async fn list(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<BidirectionalPage<Session>>, ApiError> {
    let wanted = SessionQuery {
        agent_id: query.text("agent_id")?,
        agent_version: query.number("agent_version", 1, u32::MAX)?,
        created: query.created_at(&["gt", "gte", "lt", "lte"])?,
        include_archived: query.switch("include_archived")?,
        statuses: statuses(&mut query)?,
        order: query.order(Order::Desc)?,
        // The contract names no limits; these are those of the other lists, and generous.
        page: query.page(20, 1000)?,
    };
    for key in ["deployment_id", "memory_store_id"] {
        if query.text(key)?.is_some() {
            return Err(ApiError::invalid(format!(
                "{key}: {}",
                api::read::NOT_SERVED
            )));
        }
    }
    query.finish()?;
    if wanted.agent_version.is_some() && wanted.agent_id.is_none() {
        return Err(ApiError::invalid("agent_version: only goes with agent_id"));
    }
    let page = app.store.sessions().list(&caller.realm, wanted).await?;
    let data = page
        .rows
        .iter()
        .map(|row| super::view(&app, row))
        .collect::<Result<_, _>>()?;
    Ok(Json(BidirectionalPage {
        data,
        next_page: page.next,
        prev_page: page.prev,
    }))
}

fn statuses(query: &mut Query) -> Result<Vec<Status>, ApiError> {
    let parse = |name: String| {
        let known = "`idle`, `running`, `rescheduling`, `terminated`";
        let refuse = |_| {
            ApiError::invalid(format!(
                "statuses[]: must be one of {known}, got {}",
                quoted(&name)
            ))
        };
        name.parse().map_err(refuse)
    };
    query.list("statuses").into_iter().map(parse).collect()
}
