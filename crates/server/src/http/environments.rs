//! Environments: what sandboxes contain and may reach.

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

use api::environment::{Definition, Environment, EnvironmentTag};
use api::time::Timestamp;
use store::{EnvironmentRow, Keep};

use crate::error::ApiError;

/// The row as clients see it.
fn view(row: &EnvironmentRow) -> Result<Environment, ApiError> {
    Ok(Environment {
        id: row.id.clone(),
        kind: EnvironmentTag::Value,
        definition: definition(row)?,
        created_at: Timestamp(row.created_at),
        updated_at: Timestamp(row.updated_at),
        archived_at: row.archived_at.map(Timestamp),
    })
}

/// What is stored.
pub(super) fn definition(row: &EnvironmentRow) -> Result<Definition, ApiError> {
    serde_json::from_str(&row.body).map_err(ApiError::internal)
}

/// How long what belongs to it is kept, as the store wants to know.
fn keep(definition: &Definition) -> Keep {
    let retention = &definition.config.hosting.retention;
    Keep {
        sessions: retention.sessions,
        snapshots: retention.snapshots,
        files: retention.files,
    }
}

/// No such environment, or somebody else's.
pub(super) fn not_found(id: &str) -> ApiError {
    ApiError::not_found(format!(
        "no environment has the id {}",
        api::read::quoted(id)
    ))
    .with_code("environment_not_found")
}
