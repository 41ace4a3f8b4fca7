//! `GET /v1/audit`: what was decided on the way out, of all sessions or one. An extension of the
//! contract.

use api::audit::{AuditRecord, Verdict};
use api::page::BidirectionalPage;
use api::read::quoted;
use axum::Json;
use axum::extract::State;
use store::{AuditQuery, Order};

use crate::app::App;
use crate::audit;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::query::Query;

pub(in crate::http) async fn list(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<BidirectionalPage<AuditRecord>>, ApiError> {
    let wanted = AuditQuery {
        session_id: query.text("session_id")?,
        verdict: verdict(query.text("verdict")?)?,
        host: query.text("host")?,
        created: query.created_at(&["gt", "gte", "lt", "lte"])?,
        order: query.order(Order::Desc)?,
        page: query.page(100, 1000)?,
    };
    query.finish()?;
    let page = app.store.audit().list(&caller.realm, wanted).await?;
    Ok(Json(BidirectionalPage {
        data: page.rows.iter().map(audit::view).collect(),
        next_page: page.next,
        prev_page: page.prev,
    }))
}

fn verdict(name: Option<String>) -> Result<Option<String>, ApiError> {
    let Some(name) = name else { return Ok(None) };
    if Verdict::of(&name).is_none() {
        let known = "`allow`, `deny`, `lost`";
        let refusal = format!("verdict: must be one of {known}, got {}", quoted(&name));
        return Err(ApiError::invalid(refusal));
    }
    Ok(Some(name))
}
