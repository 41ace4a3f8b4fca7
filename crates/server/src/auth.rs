//! Who is asking, and what they may do: keys in, callers out. The one place that decides either.
//!
//! What a caller may *see* is its [`Realm`], which every question to the store takes; what is outside
//! looks absent. What it may *do* is its [`Scope`] against the [`Need`] that stands beside each route.
//!
//! Keys are known by their SHA-256. Of that the search sees eight bytes, and the rest is compared in
//! constant time. A key is never logged; [`Caller`] carries its public id.

mod uses;

use std::sync::Arc;

use api::api_key::Scope;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use store::{DEFAULT_WORKSPACE, InsertKeyError, KeyRow, Reach, Realm, Store};
use subtle::ConstantTimeEq;

use crate::clock::Clock;
use crate::config::Secret;
use crate::error::ApiError;
use crate::ids::Ids;
use crate::lifecycle::Lifecycle;
use uses::Uses;

/// What a route asks of its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Looks and changes nothing.
    Read,
    /// Makes, uses or ends sessions, and what they made.
    Work,
    /// Changes what the workspace is: agents, environments, keys.
    Administer,
    /// Makes or changes workspaces.
    Operate,
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// What it may see.
    pub realm: Realm,
    /// What it may do.
    pub scope: Scope,
    /// Which key it showed, by its public id.
    pub key_id: String,
}

impl Caller {
    /// Whether the caller may do this.
    ///
    /// # Errors
    /// 403 when it may not, whatever the request is about: that says nothing of what there is.
    pub fn check(&self, need: Need) -> Result<(), ApiError> {
        let refused = match (need, self.scope) {
            (Need::Read, _) | (Need::Work, Scope::Admin | Scope::Sessions) => return Ok(()),
            (Need::Work, Scope::ReadOnly) => "this key is read-only",
            (Need::Administer, Scope::Admin) => return Ok(()),
            (Need::Operate, Scope::Admin) if self.operates() => return Ok(()),
            (Need::Operate, Scope::Admin) => {
                "workspaces are made and changed with an admin key of the default workspace"
            }
            (Need::Administer | Need::Operate, Scope::Sessions | Scope::ReadOnly) => {
                "this needs a key of the scope `admin`"
            }
        };
        Err(ApiError::forbidden(refused))
    }

    /// Which workspaces and keys the caller sees, when it may see any.
    #[must_use]
    pub fn reach(&self) -> Reach {
        match self.operates() {
            true => Reach::Server,
            false => Reach::Workspace(self.realm.workspace().to_owned()),
        }
    }

    /// Whether it comes from the workspace of those who run the server.
    fn operates(&self) -> bool {
        self.realm.workspace() == DEFAULT_WORKSPACE
    }
}

/// The keys that open this server.
#[derive(Clone)]
pub struct Keys {
    store: Arc<Store>,
    /// The key given by configuration. It is not stored, so that it ends with the configuration.
    configured: Option<[u8; 32]>,
    clock: Clock,
    uses: Uses,
}

impl Keys {
    /// The key of the configuration, if any, and those in the store.
    #[must_use]
    pub fn new(
        store: Arc<Store>,
        configured: Option<&Secret>,
        clock: Clock,
        lifecycle: Lifecycle,
    ) -> Keys {
        Keys {
            uses: Uses::new(store.clone(), lifecycle),
            store,
            configured: configured.map(|key| hash(key.expose())),
            clock,
        }
    }

    /// Makes sure that somebody can administer the server. The key that had to be made is returned, to
    /// be shown once.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn ensure(
        &self,
        ids: &Ids,
        at: DateTime<Utc>,
    ) -> Result<Option<Secret>, InsertKeyError> {
        let admin = Scope::Admin.as_str();
        let keys = self.store.keys();
        if self.configured.is_some() || keys.any(DEFAULT_WORKSPACE, admin, at).await? {
            return Ok(None);
        }
        let fresh = Fresh::new(ids);
        keys.insert(KeyRow {
            id: fresh.id,
            workspace_id: DEFAULT_WORKSPACE.to_owned(),
            environment_id: None,
            name: "first key".to_owned(),
            scope: admin.to_owned(),
            sha256: fresh.sha256,
            hint: fresh.hint,
            created_at: at,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        })
        .await?;
        Ok(Some(fresh.secret))
    }

    /// The caller that these headers prove.
    ///
    /// # Errors
    /// 401 without a key or with one that opens nothing, 403 when another workspace is named.
    pub async fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let key = presented(headers)?;
        let caller = self.find(hash(key)).await?;
        let named = headers
            .get("anthropic-workspace-id")
            .filter(|named| !named.is_empty());
        if named.is_some_and(|named| named.as_bytes() != caller.realm.workspace().as_bytes()) {
            return Err(ApiError::forbidden(
                "the key does not belong to the workspace that anthropic-workspace-id names",
            ));
        }
        Ok(caller)
    }

    /// Whether a caller that came in before still may. For what stays open: a stream asks from time to time.
    pub async fn is_good(&self, caller: &Caller) -> bool {
        if caller.key_id == CONFIGURED {
            return true;
        }
        match self.store.keys().get(&Reach::Server, &caller.key_id).await {
            Ok(row) => row.is_some_and(|row| over(&row, self.clock.now()).is_none()),
            // A store that cannot say now is asked again.
            Err(_) => true,
        }
    }

    async fn find(&self, sha256: [u8; 32]) -> Result<Caller, ApiError> {
        if self.configured.is_some_and(|known| same(&known, &sha256)) {
            return Ok(Caller {
                realm: Realm::of(DEFAULT_WORKSPACE),
                scope: Scope::Admin,
                key_id: CONFIGURED.to_owned(),
            });
        }
        let candidates = self.store.keys().candidates(&sha256).await?;
        let row = candidates
            .into_iter()
            .find(|row| same(&row.sha256, &sha256))
            .ok_or_else(|| ApiError::unauthenticated("this key is not known here"))?;
        let now = self.clock.now();
        if let Some(why) = over(&row, now) {
            return Err(ApiError::unauthenticated(why));
        }
        let unknown = || ApiError::internal(format!("key {} has the scope {}", row.id, row.scope));
        let scope = Scope::of(&row.scope).ok_or_else(unknown)?;
        self.uses.note(&row.id, now);
        Ok(Caller {
            realm: Realm::of(row.workspace_id).within(row.environment_id),
            scope,
            key_id: row.id,
        })
    }
}

/// The id of the key of the configuration, which has no row.
const CONFIGURED: &str = "apikey_configured";

/// Why a key opens nothing at `now`, if it does not.
fn over(row: &KeyRow, now: DateTime<Utc>) -> Option<&'static str> {
    match (row.revoked_at, row.expires_at) {
        (Some(_), _) => Some("this key was revoked"),
        (None, Some(at)) if at <= now => Some("this key has expired"),
        (None, _) => None,
    }
}

/// A key that was just made: what is kept of it, and what is shown once.
pub struct Fresh {
    /// Its public id.
    pub id: String,
    /// What it is known by.
    pub sha256: [u8; 32],
    /// Its beginning.
    pub hint: String,
    /// The key itself.
    pub secret: Secret,
}

impl Fresh {
    /// Makes one.
    #[must_use]
    pub fn new(ids: &Ids) -> Fresh {
        let key = ids.key();
        Fresh {
            id: ids.mint(api::id::Prefix::ApiKey),
            sha256: hash(&key),
            hint: key.chars().take("hostel_".len() + 4).collect(),
            secret: Secret::new(key),
        }
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

fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.ct_eq(other).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(workspace: &str, scope: Scope) -> Caller {
        Caller {
            realm: Realm::of(workspace),
            scope,
            key_id: "apikey_1".to_owned(),
        }
    }

    #[test]
    fn what_each_scope_may_do() {
        let rows = [
            (Scope::ReadOnly, [true, false, false, false]),
            (Scope::Sessions, [true, true, false, false]),
            (Scope::Admin, [true, true, true, true]),
        ];
        let needs = [Need::Read, Need::Work, Need::Administer, Need::Operate];
        for (scope, may) in rows {
            let caller = caller(DEFAULT_WORKSPACE, scope);
            let found = needs.map(|need| caller.check(need).is_ok());
            assert_eq!(found, may, "{scope:?}");
        }
    }

    #[test]
    fn only_the_default_workspace_runs_the_server() {
        let mine = caller(DEFAULT_WORKSPACE, Scope::Admin);
        assert_eq!(mine.reach(), Reach::Server);
        let theirs = caller("wrkspc_1", Scope::Admin);
        assert!(theirs.check(Need::Administer).is_ok());
        assert!(theirs.check(Need::Operate).is_err());
        assert_eq!(theirs.reach(), Reach::Workspace("wrkspc_1".to_owned()));
    }

    #[test]
    fn hashes_are_the_same_or_not_wherever_they_differ() {
        let hash = hash("hostel_a");
        assert!(same(&hash, &hash.clone()));
        for at in [0, 15, 31] {
            let mut other = hash;
            other[at] ^= 1;
            assert!(!same(&hash, &other));
        }
    }
}
