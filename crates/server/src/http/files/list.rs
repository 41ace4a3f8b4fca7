//! `GET /v1/files`

use std::collections::BTreeSet;

use api::error::Invalid;
use api::file::FileMetadata;
use api::page::Page;
use axum::Json;
use axum::extract::State;
use store::{FileQuery, PAGE_LIMIT, PageQuery};

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::query::Query;

/// The contract's limit on `ids[]`.
const IDS: usize = 100;

pub(in crate::http) async fn list(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<FileMetadata>>, ApiError> {
    let wanted = wanted(&mut query)?;
    query.finish()?;
    let page = app.store.files().list(&caller.realm, wanted).await?;
    Ok(Json(Page {
        data: page.rows.into_iter().map(super::view).collect(),
        next_page: page.next,
    }))
}

fn wanted(query: &mut Query) -> Result<FileQuery, Invalid> {
    let ids: BTreeSet<String> = query.list("ids").into_iter().collect();
    let session_id = query.text("scope_id")?;
    if ids.is_empty() {
        return Ok(FileQuery {
            session_id,
            ids: None,
            page: query.page(20, PAGE_LIMIT)?,
        });
    }
    if ids.len() > IDS {
        let rule = format!("ids: at most {IDS} items, got {}", ids.len());
        return Err(Invalid::new(rule));
    }
    if query.text("limit")?.is_some() || query.text("page")?.is_some() {
        return Err(Invalid::new("ids: does not go with `limit` or `page`"));
    }
    Ok(FileQuery {
        session_id,
        ids: Some(ids.into_iter().collect()),
        page: PageQuery {
            limit: PAGE_LIMIT,
            cursor: None,
        },
    })
}
