//! A session as clients see it.

use api::environment;
use api::session::{Session, SessionTag, Status};
use api::time::Timestamp;
use serde::de::DeserializeOwned;
use store::SessionRow;

use crate::app::App;
use crate::error::ApiError;

/// The row as clients see it.
///
/// # Errors
/// When the row holds what this server did not write.
pub fn view(app: &App, row: &SessionRow) -> Result<Session, ApiError> {
    let environment: environment::Config = parse(&row.environment)?;
    Ok(Session {
        id: row.id.clone(),
        kind: SessionTag::Value,
        status: status(row.status),
        agent: parse(&row.agent)?,
        environment_id: row.environment_id.clone(),
        isolation: app.sessions.isolation(environment.hosting.isolation).ok(),
        title: row.title.clone(),
        metadata: parse(&row.metadata)?,
        resources: Vec::new(),
        vault_ids: parse(&row.vault_ids)?,
        deployment_id: None,
        budget: row.budget.as_deref().map(parse).transpose()?,
        outcome_evaluations: Vec::new(),
        stats: parse(&row.stats)?,
        usage: parse(&row.usage)?,
        created_at: Timestamp(row.created_at),
        updated_at: Timestamp(row.updated_at),
        archived_at: row.archived_at.map(Timestamp),
    })
}

fn status(status: store::Status) -> Status {
    match status {
        store::Status::Idle => Status::Idle,
        store::Status::Running => Status::Running,
        store::Status::Rescheduling => Status::Rescheduling,
        store::Status::Terminated => Status::Terminated,
    }
}

fn parse<T: DeserializeOwned>(json: &str) -> Result<T, ApiError> {
    serde_json::from_str(json).map_err(ApiError::internal)
}
