//! Agents: versioned definitions.

mod archive;
mod create;
mod get;
mod list;
mod update;
mod versions;

pub(super) use archive::archive;
pub(super) use create::create;
pub(super) use get::get;
pub(super) use list::list;
pub(super) use update::update;
pub(super) use versions::versions;

use api::agent::{Agent, AgentTag, Definition};
use api::page::Page;
use api::time::Timestamp;
use store::AgentRow;

use crate::error::ApiError;

/// The row as clients see it.
fn view(row: &AgentRow) -> Result<Agent, ApiError> {
    Ok(Agent {
        id: row.id.clone(),
        kind: AgentTag::Value,
        version: row.version,
        definition: definition(row)?,
        created_at: Timestamp(row.created_at),
        updated_at: Timestamp(row.updated_at),
        archived_at: row.archived_at.map(Timestamp),
    })
}

/// What a version stores.
pub(super) fn definition(row: &AgentRow) -> Result<Definition, ApiError> {
    serde_json::from_str(&row.body).map_err(ApiError::internal)
}

fn page(page: &store::Page<AgentRow>) -> Result<Page<Agent>, ApiError> {
    let data = page.rows.iter().map(view).collect::<Result<_, _>>()?;
    Ok(Page {
        data,
        next_page: page.next.clone(),
    })
}

/// No such agent, or somebody else's.
pub(super) fn not_found(id: &str) -> ApiError {
    ApiError::not_found(format!("no agent has the id {}", api::read::quoted(id)))
}
