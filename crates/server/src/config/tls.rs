//! TLS for the API.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// TLS for the API. With both files it is spoken, and nothing else; with neither it is not.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// A PEM file with the server's certificate, and after it those that lead to its root. It is read
    /// again when it changes.
    pub cert_file: Option<PathBuf>,
    /// A PEM file with the certificate's key. It is read again when it changes.
    pub key_file: Option<PathBuf>,
}
