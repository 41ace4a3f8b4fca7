//! What a session has used.

use serde::{Deserialize, Serialize};

use crate::money::MonetaryAmount;

/// What a session has used so far; also the snapshot in `session.usage` events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of uncached input.
    pub input_tokens: u64,
    /// Tokens of output.
    pub output_tokens: u64,
    /// Tokens of input read from the cache.
    pub cache_read_input_tokens: u64,
    /// Tokens of input written to the cache.
    pub cache_creation: CacheCreation,
    /// Seconds in which the session worked, overlaps counted once.
    pub active_seconds: f64,
    /// The cost at list prices; absent while no price is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_cost: Option<MonetaryAmount>,
    /// Calls of tools that run at the model API; absent when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_tool_use: Option<ServerToolUse>,
}

/// Tokens of input written to the cache, by how long it keeps them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheCreation {
    /// For five minutes.
    pub ephemeral_5m_input_tokens: u64,
    /// For one hour.
    pub ephemeral_1h_input_tokens: u64,
}

/// Calls of tools that run at the model API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerToolUse {
    /// Web searches.
    pub web_search_requests: u64,
    /// Web pages fetched.
    pub web_fetch_requests: u64,
}
