//! What a trial of a credential found.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What a trial of a credential found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialValidation {
    /// Always `vault_credential_validation`.
    #[serde(rename = "type")]
    pub kind: ValidationTag,
    /// Which credential.
    pub credential_id: String,
    /// Whose it is.
    pub vault_id: String,
    /// Whether it works.
    pub status: Validity,
    /// Whether a new token can be asked for.
    pub has_refresh_token: bool,
    /// When it was tried.
    pub validated_at: Timestamp,
    /// What the MCP server said; null when it was not asked.
    pub mcp_probe: Option<McpProbe>,
    /// What became of asking for a new token; null when none was asked for.
    pub refresh: Option<RefreshProbe>,
}

crate::literal! {
    /// The `type` of a validation.
    ValidationTag = "vault_credential_validation"
}

/// Whether a credential works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validity {
    /// The server took it.
    Valid,
    /// The server refused it.
    Invalid,
    /// It could not be found out.
    Unknown,
}

/// What the MCP server said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpProbe {
    /// The MCP method that it was asked.
    pub method: String,
    /// Its answer; null when there was none.
    pub http_response: Option<HttpResponse>,
}

/// What became of asking for a new token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshProbe {
    /// What became of it.
    pub status: RefreshStatus,
    /// The answer, when it was no success; null when there was none.
    pub http_response: Option<HttpResponse>,
}

/// What became of asking for a new token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshStatus {
    /// There is a new one.
    Succeeded,
    /// It was refused.
    Failed,
    /// The token endpoint cannot be reached.
    ConnectError,
    /// There is nothing to ask with.
    NoRefreshToken,
}

/// An answer, without what is secret in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    /// Its status.
    pub status_code: u16,
    /// Its content type.
    pub content_type: Option<String>,
    /// The beginning of its body.
    pub body: String,
    /// Whether there was more.
    pub body_truncated: bool,
}
