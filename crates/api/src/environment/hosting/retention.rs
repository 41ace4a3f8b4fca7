//! How long what has ended is kept. A value counts from the end of a session (archived or terminated),
//! and from the creation of a snapshot or file. The newest snapshot of a living session is always kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::duration;
use crate::error::Invalid;
use crate::patch::Patch;
use crate::read::{At, Fields, Read};

/// How long what has ended is kept; `None` is for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retention {
    /// Sessions, from when they were archived or terminated.
    #[serde(with = "duration")]
    pub sessions: Option<Duration>,
    /// Snapshots, from their creation.
    #[serde(with = "duration")]
    pub snapshots: Option<Duration>,
    /// Files of sessions, from their creation.
    #[serde(with = "duration")]
    pub files: Option<Duration>,
}

/// `retention` as a request gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionParams {
    sessions: Patch<Duration>,
    snapshots: Patch<Duration>,
    files: Patch<Duration>,
}

impl Read for RetentionParams {
    fn read(value: Value, at: At<'_>) -> Result<RetentionParams, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let params = RetentionParams {
            sessions: duration::patch(&mut fields, "sessions")?,
            snapshots: duration::patch(&mut fields, "snapshots")?,
            files: duration::patch(&mut fields, "files")?,
        };
        fields.finish()?;
        Ok(params)
    }
}

impl RetentionParams {
    pub(super) fn apply(self, stored: &mut Retention) {
        self.sessions.apply(&mut stored.sessions);
        self.snapshots.apply(&mut stored.snapshots);
        self.files.apply(&mut stored.files);
    }
}
