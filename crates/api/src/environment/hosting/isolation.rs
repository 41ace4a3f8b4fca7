//! What must stand between a sandbox and its host.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::word;
use crate::error::Invalid;
use crate::patch::Patch;
use crate::read::{At, Fields, Read};

/// What must stand between a sandbox and its host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Isolation {
    /// The weakest level that will do; `None` takes the server's usual one.
    pub at_least: Option<Level>,
}

/// A level of isolation, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Namespaces and Landlock, without an OCI runtime.
    Process,
    /// A container.
    Container,
    /// A kernel in user space.
    Gvisor,
}

impl Read for Level {
    fn read(value: Value, at: At<'_>) -> Result<Level, Invalid> {
        let known = [
            ("process", Level::Process),
            ("container", Level::Container),
            ("gvisor", Level::Gvisor),
        ];
        word(value, at, &known)
    }
}

/// `isolation` as a request gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IsolationParams {
    at_least: Patch<Level>,
}

impl Read for IsolationParams {
    fn read(value: Value, at: At<'_>) -> Result<IsolationParams, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let at_least = fields.patch("at_least")?;
        fields.finish()?;
        Ok(IsolationParams { at_least })
    }
}

impl IsolationParams {
    pub(super) fn apply(self, stored: &mut Isolation) {
        self.at_least.apply(&mut stored.at_least);
    }
}
