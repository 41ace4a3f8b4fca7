//! `POST /v1/vaults/{vault_id}/credentials`

use api::credential::{CreateCredential, Credential};
use axum::Json;
use axum::extract::State;
use store::CreateCredentialError;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::{self, Id};
use crate::http::query::Query;
use crate::http::vaults;

pub(in crate::http) async fn create(
    State(app): State<App>,
    caller: Caller,
    Id(vault): Id,
    query: Query,
    extract::Json(request): extract::Json<CreateCredential>,
) -> Result<Json<Credential>, ApiError> {
    query.finish()?;
    let what = request.auth.key();
    let made = app.vaults.create(&caller.realm, &vault, request).await;
    let row = made.map_err(|error| refusal(error, &vault, &what))?;
    app.sessions.vaults_changed(&row.workspace_id).await?;
    super::view(row).map(Json)
}

fn refusal(error: CreateCredentialError, vault: &str, what: &str) -> ApiError {
    match error {
        CreateCredentialError::NotFound => vaults::not_found(vault),
        CreateCredentialError::Archived => {
            ApiError::invalid("the vault is archived and takes no credentials")
        }
        CreateCredentialError::TooMany { limit } => ApiError::invalid(format!(
            "a vault has at most {limit} credentials; archive or delete one, or use another vault"
        )),
        CreateCredentialError::Duplicate => ApiError::conflict(format!(
            "the vault has an active credential for {} already; change that one, or archive it first",
            api::read::quoted(what)
        )),
        CreateCredentialError::Store(error) => error.into(),
    }
}
