//! Keys: made, shown, rotated, revoked. An extension of the contract. A key itself is in the answer that
//! made it and nowhere else.

mod create;
mod get;
mod list;
mod revoke;
mod rotate;

pub(super) use create::create;
pub(super) use get::get;
pub(super) use list::list;
pub(super) use revoke::revoke;
pub(super) use rotate::rotate;

use api::api_key::{ApiKey, ApiKeyTag, KeyStatus, Scope};
use api::time::Timestamp;
use chrono::{DateTime, Utc};
use serde::Serialize;
use store::KeyRow;

use crate::config::Secret;
use crate::error::ApiError;

/// A key that was just made, with the key itself.
#[derive(Serialize)]
pub(super) struct Made {
    #[serde(flatten)]
    shown: ApiKey,
    /// Shown this once.
    key: String,
}

impl Made {
    fn new(row: KeyRow, secret: &Secret, now: DateTime<Utc>) -> Result<Made, ApiError> {
        Ok(Made {
            shown: view(row, now)?,
            key: secret.expose().to_owned(),
        })
    }
}

/// The row as administrators see it.
fn view(row: KeyRow, now: DateTime<Utc>) -> Result<ApiKey, ApiError> {
    let unknown = || ApiError::internal(format!("key {} has the scope {}", row.id, row.scope));
    let status = match (row.revoked_at, row.expires_at) {
        (Some(_), _) => KeyStatus::Revoked,
        (None, Some(at)) if at <= now => KeyStatus::Expired,
        (None, _) => KeyStatus::Active,
    };
    Ok(ApiKey {
        kind: ApiKeyTag::Value,
        scope: Scope::of(&row.scope).ok_or_else(unknown)?,
        id: row.id,
        name: row.name,
        workspace_id: row.workspace_id,
        environment_id: row.environment_id,
        partial_key_hint: row.hint,
        status,
        created_at: Timestamp(row.created_at),
        expires_at: row.expires_at.map(Timestamp),
        revoked_at: row.revoked_at.map(Timestamp),
        last_used_at: row.last_used_at.map(Timestamp),
    })
}

/// No such key, or one of another workspace.
fn not_found(id: &str) -> ApiError {
    ApiError::not_found(format!("no API key has the id {}", api::read::quoted(id)))
}
