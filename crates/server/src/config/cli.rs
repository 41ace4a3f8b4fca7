//! Which versions of the claude CLI sessions run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The claude CLI.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cli {
    /// The versions that are allowed where neither agent nor environment asks for one, as a semver
    /// requirement. What is started takes the default if that fits, else the newest that is offered.
    #[schemars(with = "String")]
    pub version: semver::VersionReq,
    /// How long it may take to say its first word, in milliseconds. It takes 0.3 s on an idle machine.
    pub start_timeout_ms: u64,
    /// How long it may be silent in the middle of a turn, in milliseconds, before the turn is begun
    /// again. Longer than the model may be silent, so that a slow model is not taken for a dead CLI.
    pub stall_timeout_ms: u64,
}

impl Default for Cli {
    fn default() -> Cli {
        Cli {
            version: semver::VersionReq::STAR,
            start_timeout_ms: 60_000,
            stall_timeout_ms: 900_000,
        }
    }
}
