//! How much of everything. A caller that hits one of these is told which.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much of everything.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Sandboxes at once. Sessions beyond wait for one.
    #[schemars(range(min = 1))]
    pub max_sandboxes: u32,
    /// Rounds of model and tools in one turn.
    #[schemars(range(min = 1))]
    pub max_turns: u32,
    /// Bytes of a request's body.
    #[schemars(range(min = 1024))]
    pub request_bytes: usize,
    /// Connections at once. Further ones wait in the kernel's queue.
    #[schemars(range(min = 1))]
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_sandboxes: 32,
            max_turns: 200,
            // The contract's own limit.
            request_bytes: 32 * 1024 * 1024,
            connections: 4096,
        }
    }
}
