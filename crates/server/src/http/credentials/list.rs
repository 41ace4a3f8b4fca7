//! `GET /v1/vaults/{vault_id}/credentials`

use api::credential::Credential;
use api::page::Page;
use axum::Json;
use axum::extract::State;
use store::CredentialQuery;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::Id;
use crate::http::query::Query;
use crate::http::vaults;

pub(in crate::http) async fn list(
    State(app): State<App>,
    caller: Caller,
    Id(vault): Id,
    mut query: Query,
) -> Result<Json<Page<Credential>>, ApiError> {
    let wanted = CredentialQuery {
        include_archived: query.switch("include_archived")?,
        page: query.page(20, 100)?,
    };
    query.finish()?;
    let credentials = app.store.credentials();
    let page = credentials.list(&caller.realm, &vault, wanted).await?;
    let page = page.ok_or_else(|| vaults::not_found(&vault))?;
    let data = page.rows.into_iter().map(super::view);
    Ok(Json(Page {
        data: data.collect::<Result<_, _>>()?,
        next_page: page.next,
    }))
}
