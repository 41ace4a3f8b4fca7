//! Keys with which callers come in, an extension of the public contract. What is shown of a key is
//! never enough to use it; the key itself is in the answer that made it and nowhere else.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Invalid;
use crate::limits;
use crate::read::{At, Fields, Read, expected, quoted};
use crate::time::Timestamp;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everything in its workspace, its keys too.
    Admin,
    /// Reading everything; making, using, changing and ending sessions; deleting files.
    Sessions,
    /// Reading everything.
    ReadOnly,
}

impl Scope {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Admin => "admin",
            Scope::Sessions => "sessions",
            Scope::ReadOnly => "read_only",
        }
    }

    /// The scope that a word names.
    #[must_use]
    pub fn of(word: &str) -> Option<Scope> {
        [Scope::Admin, Scope::Sessions, Scope::ReadOnly]
            .into_iter()
            .find(|scope| scope.as_str() == word)
    }
}

impl Read for Scope {
    fn read(value: Value, at: At<'_>) -> Result<Scope, Invalid> {
        let word = String::read(value, at)?;
        Scope::of(&word).ok_or_else(|| {
            let known = "`admin`, `sessions` or `read_only`";
            at.invalid(format!("must be {known}, got {}", quoted(&word)))
        })
    }
}

/// Whether a key opens anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// It does.
    Active,
    /// Its time is over.
    Expired,
    /// Somebody ended it.
    Revoked,
}

/// A key as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// `apikey_…`.
    pub id: String,
    /// Always `api_key`.
    #[serde(rename = "type")]
    pub kind: ApiKeyTag,
    /// A name for people.
    pub name: String,
    /// Whose records it opens.
    pub workspace_id: String,
    /// What it is for.
    pub scope: Scope,
    /// The only environment that it opens; null is all.
    pub environment_id: Option<String>,
    /// The beginning of the key.
    pub partial_key_hint: String,
    /// Whether it opens anything now.
    pub status: KeyStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it opens nothing.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// About when it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

crate::literal! {
    /// The `type` of a key.
    ApiKeyTag = "api_key"
}

/// A key to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateApiKey {
    /// A name for people.
    pub name: String,
    /// What it is for.
    pub scope: Scope,
    /// Its workspace; `None` is the caller's.
    pub workspace_id: Option<String>,
    /// The only environment that it opens; `None` is all.
    pub environment_id: Option<String>,
    /// From when on it opens nothing; `None` is never.
    pub expires_at: Option<Timestamp>,
}

impl Read for CreateApiKey {
    fn read(value: Value, at: At<'_>) -> Result<CreateApiKey, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let name: String = fields.required("name")?;
        let scope: Scope = fields.required("scope")?;
        let workspace_id = fields.optional("workspace_id")?;
        let environment_id: Option<String> = fields.optional("environment_id")?;
        let expires_at = fields.optional::<String>("expires_at")?;
        fields.finish()?;
        limits::text(&name, 1, limits::NAME, at.key("name"))?;
        if environment_id.is_some() && scope == Scope::Admin {
            let rule = "goes with the scopes `sessions` and `read_only` alone";
            return Err(at.key("environment_id").invalid(rule));
        }
        let expires_at = expires_at.map(|text| Timestamp::parse(&text, "expires_at"));
        Ok(CreateApiKey {
            name,
            scope,
            workspace_id,
            environment_id,
            expires_at: expires_at.transpose()?,
        })
    }
}

/// The longest that a rotated key may stay good, in seconds: 30 days, enough for any change of keys.
const LONGEST_GRACE: u64 = 30 * 24 * 3600;

/// How a key is rotated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RotateApiKey {
    /// For how many seconds the old key stays good beside the new one.
    pub grace_seconds: u64,
}

impl Read for RotateApiKey {
    fn read(value: Value, at: At<'_>) -> Result<RotateApiKey, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let grace = fields.optional::<Value>("grace_seconds")?;
        fields.finish()?;
        let Some(grace) = grace else {
            return Ok(RotateApiKey::default());
        };
        let seconds = grace.as_u64().filter(|seconds| *seconds <= LONGEST_GRACE);
        let rule = "an integer of seconds from 0 to 2592000";
        let refused = || at.key("grace_seconds").invalid(expected(rule, &grace));
        Ok(RotateApiKey {
            grace_seconds: seconds.ok_or_else(refused)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_to_be_has_a_name_and_a_scope() {
        let read = |value| CreateApiKey::read(value, At::root());
        let least = read(json!({"name": "ci", "scope": "sessions"})).unwrap();
        assert_eq!((least.scope, least.expires_at), (Scope::Sessions, None));
        let full = json!({"name": "ci", "scope": "read_only", "workspace_id": "wrkspc_1",
            "environment_id": "env_1", "expires_at": "2027-01-01T00:00:00Z"});
        let full = read(full).unwrap();
        assert_eq!(full.environment_id.as_deref(), Some("env_1"));
        assert!(full.expires_at.is_some());
        for (given, message) in [
            (json!({"scope": "admin"}), "name: field required"),
            (
                json!({"name": "", "scope": "admin"}),
                "name: cannot be empty",
            ),
            (json!({"name": "a"}), "scope: field required"),
            (
                json!({"name": "a", "scope": "root"}),
                "scope: must be `admin`, `sessions` or `read_only`, got \"root\"",
            ),
            (
                json!({"name": "a", "scope": "admin", "environment_id": "env_1"}),
                "environment_id: goes with the scopes",
            ),
            (
                json!({"name": "a", "scope": "admin", "expires_at": "soon"}),
                "expires_at: must be an RFC 3339 timestamp",
            ),
            (
                json!({"name": "a", "scope": "admin", "key": "k"}),
                "key: unknown field",
            ),
        ] {
            let error = read(given).unwrap_err();
            assert!(error.message.starts_with(message), "{}", error.message);
        }
    }

    #[test]
    fn a_rotation_may_leave_the_old_key_good_for_a_while() {
        let read = |value| RotateApiKey::read(value, At::root()).map(|it| it.grace_seconds);
        assert_eq!(read(json!({})).unwrap(), 0);
        assert_eq!(read(json!({"grace_seconds": 60})).unwrap(), 60);
        for wrong in [json!(-1), json!(2_592_001), json!(1.5), json!("60")] {
            assert!(read(json!({"grace_seconds": wrong})).is_err());
        }
    }
}
