//! `GET /v1/session_store/{project_key}`

use api::page::Page;
use api::read::At;
use api::session_store::{KeptSession, Summary};
use axum::Json;
use axum::extract::{Path, State};

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::query::Query;

pub(in crate::http) async fn list(
    State(app): State<App>,
    caller: Caller,
    path: Option<Path<String>>,
    mut query: Query,
) -> Result<Json<Page<KeptSession>>, ApiError> {
    let Path(project) = path.ok_or_else(super::unreadable)?;
    api::session_store::key(&project, At::root().key("project_key"))?;
    let session = query.text("session_id")?;
    let page = query.page(1000, 1000)?;
    query.finish()?;
    let store = app.store.session_store();
    let page = store.list(&caller.realm, project, session, page).await?;
    Ok(Json(Page {
        data: page.rows.into_iter().map(view).collect::<Result<_, _>>()?,
        next_page: page.next,
    }))
}

fn view(row: store::KeptSession) -> Result<KeptSession, ApiError> {
    let data = row.summary.as_deref().map(serde_json::from_str);
    let data = data.transpose().map_err(ApiError::internal)?;
    Ok(KeptSession {
        session_id: row.session,
        mtime: row.changed_at.timestamp_millis(),
        summary: data.map(|data| Summary {
            revision: row.revision,
            data,
        }),
    })
}
