//! Sessions: one resumable conversation each.

pub mod create;
pub mod fork;
pub mod update;
pub mod usage;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::Profile;
use crate::environment::hosting::Level;
use crate::metadata::Metadata;
use crate::money::BudgetLimit;
use crate::time::Timestamp;

pub use create::{AgentOverrides, AgentRef, CreateSession, Resume};
pub use fork::ForkSession;
pub use update::{AgentChange, UpdateSession};
pub use usage::{CacheCreation, ServerToolUse, Usage};

/// A session, as clients see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// `sesn_…`.
    pub id: String,
    /// Always `session`.
    #[serde(rename = "type")]
    pub kind: SessionTag,
    /// What it is doing.
    pub status: Status,
    /// The agent in force.
    pub agent: SessionAgent,
    /// Where its sandbox comes from.
    pub environment_id: String,
    /// What stands between its sandbox and the host, an extension; null when this server cannot give
    /// what its environment asks for.
    pub isolation: Option<Level>,
    /// The name for people.
    pub title: Option<String>,
    /// The client's own map.
    pub metadata: Metadata,
    /// Always empty: not served yet.
    pub resources: Vec<Value>,
    /// Where its credentials come from.
    pub vault_ids: Vec<String>,
    /// Always null: not served yet.
    pub deployment_id: Option<String>,
    /// The cap in force.
    pub budget: Option<BudgetLimit>,
    /// Always empty: not served yet.
    pub outcome_evaluations: Vec<Value>,
    /// How long it has taken.
    pub stats: Stats,
    /// What it has used.
    pub usage: Usage,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// When it was archived.
    pub archived_at: Option<Timestamp>,
}

crate::literal! {
    /// The `type` of a session.
    SessionTag = "session"
}

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It waits for a client.
    Idle,
    /// It works.
    Running,
    /// It goes on by itself after a transient failure.
    Rescheduling,
    /// It is over.
    Terminated,
}

impl Status {
    /// Every status.
    pub const ALL: [Status; 4] = [
        Status::Idle,
        Status::Running,
        Status::Rescheduling,
        Status::Terminated,
    ];

    /// The name in the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Idle => "idle",
            Status::Running => "running",
            Status::Rescheduling => "rescheduling",
            Status::Terminated => "terminated",
        }
    }

    /// The status by its name in the contract.
    #[must_use]
    pub fn parse(name: &str) -> Option<Status> {
        Status::ALL
            .into_iter()
            .find(|status| status.as_str() == name)
    }
}

/// The agent that a session runs: a snapshot, with the session's own changes in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionAgent {
    /// Always `agent`.
    #[serde(rename = "type")]
    pub kind: crate::agent::AgentTag,
    /// The agent that it was taken from.
    pub id: String,
    /// The version that it was taken from.
    pub version: u32,
    /// What the agent is.
    #[serde(flatten)]
    pub profile: Profile,
}

/// How long a session has taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Seconds in which it worked.
    pub active_seconds: f64,
    /// Seconds from its creation to its last change.
    pub duration_seconds: f64,
}

#[cfg(test)]
mod tests;
