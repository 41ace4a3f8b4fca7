//! `GET /v1/vaults`

use api::page::Page;
use api::vault::Vault;
use axum::Json;
use axum::extract::State;
use store::VaultQuery;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::query::Query;

pub(in crate::http) async fn list(
    State(app): State<App>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<Vault>>, ApiError> {
    let wanted = VaultQuery {
        include_archived: query.switch("include_archived")?,
        page: query.page(20, 100)?,
    };
    query.finish()?;
    let page = app.store.vaults().list(&caller.realm, wanted).await?;
    let data = page.rows.into_iter().map(super::view);
    Ok(Json(Page {
        data: data.collect::<Result<_, _>>()?,
        next_page: page.next,
    }))
}
