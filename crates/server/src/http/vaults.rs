//! Vaults: named sets of credentials. What is in them: `credentials`.

mod archive;
mod create;
mod delete;
mod get;
mod list;
mod update;

pub(super) use archive::archive;
pub(super) use create::create;
pub(super) use delete::delete;
pub(super) use get::get;
pub(super) use list::list;
pub(super) use update::update;

use api::time::Timestamp;
use api::vault::{Vault, VaultTag};
use store::VaultRow;

use crate::error::ApiError;

/// The row as clients see it.
fn view(row: VaultRow) -> Result<Vault, ApiError> {
    Ok(Vault {
        metadata: serde_json::from_str(&row.metadata).map_err(ApiError::internal)?,
        id: row.id,
        kind: VaultTag::Value,
        display_name: row.display_name,
        created_at: Timestamp(row.created_at),
        updated_at: Timestamp(row.updated_at),
        archived_at: row.archived_at.map(Timestamp),
    })
}

/// No such vault, or somebody else's.
pub(super) fn not_found(id: &str) -> ApiError {
    ApiError::not_found(format!("no vault has the id {}", api::read::quoted(id)))
}
