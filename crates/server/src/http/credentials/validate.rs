//! `POST /v1/vaults/{vault_id}/credentials/{credential_id}/mcp_oauth_validate`

use api::credential::CredentialValidation;
use axum::Json;
use axum::extract::State;
use egress::CredentialError;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::IdInId;
use crate::http::query::Query;

pub(in crate::http) async fn validate(
    State(app): State<App>,
    caller: Caller,
    IdInId(vault, id): IdInId,
    query: Query,
) -> Result<Json<CredentialValidation>, ApiError> {
    query.finish()?;
    let credentials = app.store.credentials();
    let row = credentials.get(&caller.realm, &vault, &id).await?;
    let row = row.ok_or_else(|| super::not_found(&vault, &id))?;
    if row.archived_at.is_some() {
        return Err(ApiError::invalid("the credential is archived"));
    }
    let validated = app
        .vaults
        .validate(&id)
        .await
        .map_err(|error| match error {
            CredentialError::Missing => super::not_found(&vault, &id),
            error => ApiError::internal(error),
        })?;
    let wrong = "only credentials of the type `mcp_oauth` can be validated";
    validated.map(Json).ok_or_else(|| ApiError::invalid(wrong))
}
