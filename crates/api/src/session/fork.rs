//! The request that makes a session from a point in another's log, an extension of the public
//! contract.

use serde_json::Value;

use crate::error::Invalid;
use crate::limits;
use crate::metadata::NewMetadata;
use crate::patch::Patch;
use crate::read::{At, Fields, Read, quoted};

/// A fork of a session.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ForkSession {
    /// The last event that the new session has; `None` is the end of the log.
    pub event_id: Option<String>,
    /// Which files it begins with.
    pub workspace: Workspace,
    /// Its name for people; absent takes over the other's, null is none.
    pub title: Patch<String>,
    /// The client's own map; absent takes over the other's.
    pub metadata: Option<NewMetadata>,
}

/// Which files a fork begins with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Workspace {
    /// Those of the newest snapshot that is not after the point; none when there is no such snapshot.
    #[default]
    At,
    /// Those of the newest snapshot of all.
    Latest,
    /// None.
    Empty,
}

impl Read for Workspace {
    fn read(value: Value, at: At<'_>) -> Result<Workspace, Invalid> {
        match String::read(value, at)?.as_str() {
            "at" => Ok(Workspace::At),
            "latest" => Ok(Workspace::Latest),
            "empty" => Ok(Workspace::Empty),
            other => Err(at.invalid(format!(
                "must be `at`, `latest` or `empty`, got {}",
                quoted(other)
            ))),
        }
    }
}

impl Read for ForkSession {
    fn read(value: Value, at: At<'_>) -> Result<ForkSession, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let fork = ForkSession {
            event_id: fields.optional("event_id")?,
            workspace: fields.optional("workspace")?.unwrap_or_default(),
            title: fields.patch("title")?,
            metadata: fields.optional("metadata")?,
        };
        fields.finish()?;
        if let Some(id) = &fork.event_id {
            limits::text(id, 1, limits::ID, at.key("event_id"))?;
        }
        if let Patch::Value(title) = &fork.title {
            limits::text(title, 1, limits::TITLE, at.key("title"))?;
        }
        Ok(fork)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_empty_request_forks_the_end() {
        let fork = ForkSession::read(json!({}), At::root()).unwrap();
        assert_eq!(fork, ForkSession::default());
        let full = json!({"event_id": "sevt_1", "workspace": "latest", "title": null, "metadata": {"k": "v"}});
        let fork = ForkSession::read(full, At::root()).unwrap();
        assert_eq!(fork.event_id.as_deref(), Some("sevt_1"));
        assert_eq!(
            (fork.workspace, fork.title),
            (Workspace::Latest, Patch::Null)
        );
        assert_eq!(fork.metadata.unwrap().0["k"], "v");
    }

    #[test]
    fn refusals_name_the_place() {
        for (given, message) in [
            (
                json!({"workspace": "new"}),
                "workspace: must be `at`, `latest` or `empty`, got \"new\"",
            ),
            (json!({"event_id": ""}), "event_id: cannot be empty"),
            (json!({"title": ""}), "title: cannot be empty"),
            (
                json!({"seq": 1}),
                "seq: unknown field; known here: `event_id`",
            ),
        ] {
            let error = ForkSession::read(given, At::root()).unwrap_err();
            assert!(error.message.starts_with(message), "{}", error.message);
        }
    }
}
