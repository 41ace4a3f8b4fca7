//! Who is asking: keys in, callers out.
//!
//! Keys are compared by their SHA-256, so that neither the store nor the time that a comparison
//! takes says anything about one. A key is never logged; [`Caller`] carries its public id.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use store::{DEFAULT_WORKSPACE, KeyRow, Store, StoreError};

use crate::config::Secret;
use crate::error::ApiError;
use crate::ids::Ids;

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose records it may see.
    pub workspace: String,
    /// Which key it showed, by its public id.
    pub key_id: String,
}

/// The keys that open this server.
#[derive(Clone)]
pub struct Keys {
    store: Arc<Store>,
    /// The key given by configuration. It is not stored, so that it ends with the configuration.
    configured: Option<[u8; 32]>,
}

impl Keys {
    /// The key of the configuration, if any, and those in the store.
    #[must_use]
    pub fn new(store: Arc<Store>, configured: Option<&Secret>) -> Keys {
        Keys {
            store,
            configured: configured.map(|key| hash(key.expose())),
        }
    }

    /// Makes sure that there is a key. The one that had to be made is returned, to be shown once.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn ensure(&self, ids: &Ids, at: DateTime<Utc>) -> Result<Option<Secret>, StoreError> {
        if self.configured.is_some() || self.store.keys().any().await? {
            return Ok(None);
        }
        let key = ids.key();
        let row = KeyRow {
            id: ids.mint(api::id::Prefix::ApiKey),
            workspace_id: DEFAULT_WORKSPACE.to_owned(),
            sha256: hash(&key),
            hint: key.chars().take("hostel_".len() + 4).collect(),
            created_at: at,
        };
        self.store.keys().insert(row).await?;
        Ok(Some(Secret::new(key)))
    }

    /// The caller that these headers prove.
    ///
    /// # Errors
    /// 401 without a key or with an unknown one, 403 when another workspace is named.
    pub async fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let key = presented(headers)?;
        let caller = self.find(hash(key)).await?;
        let caller =
            caller.ok_or_else(|| ApiError::unauthenticated("this key is not known here"))?;
        let named = headers
            .get("anthropic-workspace-id")
            .filter(|named| !named.is_empty());
        if named.is_some_and(|named| named.as_bytes() != caller.workspace.as_bytes()) {
            return Err(ApiError::forbidden(
                "the key does not belong to the workspace that anthropic-workspace-id names",
            ));
        }
        Ok(caller)
    }

    async fn find(&self, sha256: [u8; 32]) -> Result<Option<Caller>, StoreError> {
        if self.configured == Some(sha256) {
            return Ok(Some(Caller {
                workspace: DEFAULT_WORKSPACE.to_owned(),
                key_id: "apikey_configured".to_owned(),
            }));
        }
        let row = self.store.keys().find_by_hash(&sha256).await?;
        Ok(row.map(|row| Caller {
            workspace: row.workspace_id,
            key_id: row.id,
        }))
    }
}

/// The key in `x-api-key` or `authorization: Bearer`, whichever is there.
fn presented(headers: &HeaderMap) -> Result<&str, ApiError> {
    let bearer = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
    let direct = headers
        .get("x-api-key")
        .and_then(|value| value.to_str().ok())
        .map(str::trim);
    direct
        .or(bearer)
        .filter(|key| !key.is_empty())
        .ok_or_else(|| {
            ApiError::unauthenticated(
                "send a key in the x-api-key header or as `authorization: Bearer <key>`",
            )
        })
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}
