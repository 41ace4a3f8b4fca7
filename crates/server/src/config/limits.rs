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
    /// Connections at once from one address (of IPv6, one network of 64 bits). Further ones are closed.
    /// Those from loopback are not counted: behind a proxy all come from there.
    #[schemars(range(min = 1))]
    pub connections_per_peer: usize,
    /// How long a client may take to send a request's head, and for its part of TLS, in milliseconds.
    /// Then its connection is closed, also one that is idle between two requests.
    #[schemars(range(min = 100))]
    pub head_timeout_ms: u64,
    /// How long a client may take to send a request's body, in milliseconds.
    #[schemars(range(min = 100))]
    pub body_timeout_ms: u64,
    /// Requests of one key in a second, on average. Without it they are not limited.
    #[schemars(range(min = 1))]
    pub requests_per_second: Option<u32>,
    /// Bytes of transcripts that programs elsewhere may keep here, of one workspace together. More are
    /// refused.
    #[schemars(range(min = 1))]
    pub session_store_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_sandboxes: 32,
            max_turns: 200,
            // The contract's own limit.
            request_bytes: 32 * 1024 * 1024,
            connections: 4096,
            connections_per_peer: 256,
            head_timeout_ms: 30_000,
            // The largest body at some two megabits a second.
            body_timeout_ms: 120_000,
            requests_per_second: None,
            session_store_bytes: 10 << 30,
        }
    }
}
