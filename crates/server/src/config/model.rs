//! The model API that egress forwards to.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;

/// The model API.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    /// Where it is. Also the variable `ANTHROPIC_BASE_URL`.
    pub base_url: String,
    /// A file that holds the API key. The variables `ANTHROPIC_API_KEY` and `ANTHROPIC_AUTH_TOKEN`
    /// go before it.
    pub api_key_file: Option<PathBuf>,
    /// How long a connection may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long an answer may be silent, in milliseconds.
    pub idle_timeout_ms: u64,
    /// How often a failed call is made again before the turn fails.
    pub max_retries: u32,
    /// What proves to the model API who pays.
    #[serde(skip)]
    pub credential: Option<Credential>,
}

/// What proves to the model API who pays.
#[derive(Debug, Clone)]
pub enum Credential {
    /// Sent as `x-api-key`.
    ApiKey(Secret),
    /// Sent as `authorization: Bearer`.
    AuthToken(Secret),
}

impl Default for Model {
    fn default() -> Model {
        Model {
            base_url: "https://api.anthropic.com".to_owned(),
            api_key_file: None,
            connect_timeout_ms: 10_000,
            // What the public API's own clients wait: an answer that is not streamed is silent until it ends.
            idle_timeout_ms: 600_000,
            // What the CLI does by itself.
            max_retries: 4,
            credential: None,
        }
    }
}
