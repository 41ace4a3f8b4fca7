//! Which versions of the claude CLI sessions run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The claude CLI.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cli {
    /// The versions that are allowed, as a semver requirement. New sessions take the newest one that
    /// is installed.
    #[schemars(with = "String")]
    pub version: semver::VersionReq,
}

impl Default for Cli {
    fn default() -> Cli {
        Cli {
            version: semver::VersionReq::STAR,
        }
    }
}
