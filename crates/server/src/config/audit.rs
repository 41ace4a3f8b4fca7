//! The record of what sandboxes reached and did not.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The record of what sandboxes reached and did not.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// How many days decisions are kept in the store.
    pub keep_days: u32,
    /// A file to which each decision is also appended as a line of JSON; `-` is standard output.
    pub file: Option<PathBuf>,
}

impl Default for Audit {
    fn default() -> Audit {
        Audit {
            keep_days: 30,
            file: None,
        }
    }
}
