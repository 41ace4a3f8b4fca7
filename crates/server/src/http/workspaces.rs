//! Workspaces: tenants and their limits. An extension of the contract.

mod create;
mod get;
mod list;
mod update;

pub(super) use create::create;
pub(super) use get::get;
pub(super) use list::list;
pub(super) use update::update;

use api::time::Timestamp;
use api::workspace::{Limits, Workspace, WorkspaceTag};
use store::WorkspaceRow;

use crate::error::ApiError;

/// The row as administrators see it.
fn view(row: WorkspaceRow) -> Result<Workspace, ApiError> {
    Ok(Workspace {
        limits: limits(&row)?,
        id: row.id,
        kind: WorkspaceTag::Value,
        name: row.name,
        created_at: Timestamp(row.created_at),
    })
}

fn limits(row: &WorkspaceRow) -> Result<Limits, ApiError> {
    serde_json::from_str(&row.limits).map_err(ApiError::internal)
}

fn text(limits: &Limits) -> Result<String, ApiError> {
    serde_json::to_string(limits).map_err(ApiError::internal)
}

/// No such workspace, or one that the caller does not see.
pub(super) fn not_found(id: &str) -> ApiError {
    ApiError::not_found(format!("no workspace has the id {}", api::read::quoted(id)))
}
