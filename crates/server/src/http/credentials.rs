//! Credentials of vaults. What is secret of one comes in and never goes out.

mod archive;
mod create;
mod delete;
mod get;
mod list;
mod update;
mod validate;

pub(super) use archive::archive;
pub(super) use create::create;
pub(super) use delete::delete;
pub(super) use get::get;
pub(super) use list::list;
pub(super) use update::update;
pub(super) use validate::validate;

use api::credential::{Credential, CredentialTag};
use api::time::Timestamp;
use store::CredentialRow;

use crate::error::ApiError;

/// The row as clients see it.
fn view(row: CredentialRow) -> Result<Credential, ApiError> {
    Ok(Credential {
        auth: serde_json::from_str(&row.auth).map_err(ApiError::internal)?,
        metadata: serde_json::from_str(&row.metadata).map_err(ApiError::internal)?,
        id: row.id,
        kind: CredentialTag::Value,
        vault_id: row.vault_id,
        display_name: row.display_name,
        created_at: Timestamp(row.created_at),
        updated_at: Timestamp(row.updated_at),
        archived_at: row.archived_at.map(Timestamp),
    })
}

/// No such credential in this vault, or somebody else's.
fn not_found(vault: &str, id: &str) -> ApiError {
    let (vault, id) = (api::read::quoted(vault), api::read::quoted(id));
    ApiError::not_found(format!(
        "no credential of the vault {vault} has the id {id}"
    ))
}
