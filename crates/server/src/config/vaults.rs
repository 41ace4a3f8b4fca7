//! Vaults.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;

/// Vaults.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Vaults {
    /// Where the key is that seals credentials, 64 hexadecimal digits: `file:` and a path, `env:` and the
    /// name of a variable, or `command:` and a command that prints it. Without it a key is made in the
    /// data directory (`vault.key`).
    pub key: Option<String>,
    /// Where keys are that sealed credentials before. What they sealed is sealed anew when the server
    /// starts. `vault.key` in the data directory is one of them by itself.
    pub former_keys: Vec<String>,
    /// The variables that the keys above name.
    #[serde(skip)]
    pub variables: BTreeMap<String, Secret>,
}

/// Where a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySource<'a> {
    /// In a file.
    File(&'a str),
    /// In a variable.
    Variable(&'a str),
    /// A command prints it.
    Command(&'a str),
}

impl<'a> KeySource<'a> {
    /// Reads a setting. Nothing of one that is wrong is repeated: it may be the key itself.
    #[must_use]
    pub fn of(text: &'a str) -> Option<KeySource<'a>> {
        let (kind, rest) = text.split_once(':')?;
        let rest = Some(rest.trim()).filter(|rest| !rest.is_empty())?;
        match kind {
            "file" => Some(KeySource::File(rest)),
            "env" => Some(KeySource::Variable(rest)),
            "command" => Some(KeySource::Command(rest)),
            _ => None,
        }
    }
}

impl Vaults {
    /// All sources, the key's first.
    pub(super) fn sources(&self) -> impl Iterator<Item = &str> {
        self.key.iter().chain(&self.former_keys).map(String::as_str)
    }
}
