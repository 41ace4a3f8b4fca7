//! Credentials of vaults: what they are for, and the secrets that come in with them and never go out.
//!
//! What is public of one is its [`Auth`], which answers show and the store keeps as it is. What is
//! secret is its [`Secrets`], which no type here can print or serialise.

mod address;
mod auth;
mod create;
mod secrets;
mod update;
mod validation;

use serde::{Deserialize, Serialize};

pub use address::normal;
pub use auth::{Auth, ClientAuth, InjectionLocation, Networking, Refresh};
pub use create::CreateCredential;
pub use secrets::{Hidden, Secrets};
pub use update::{ChangeAuth, UpdateCredential};
pub use validation::{
    CredentialValidation, HttpResponse, McpProbe, RefreshProbe, RefreshStatus, Validity,
};

use crate::metadata::Metadata;
use crate::time::Timestamp;

/// A credential as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// `vcrd_…`.
    pub id: String,
    /// Always `vault_credential`.
    #[serde(rename = "type")]
    pub kind: CredentialTag,
    /// Whose it is.
    pub vault_id: String,
    /// A name for people.
    pub display_name: Option<String>,
    /// What it is for, without what is secret.
    pub auth: Auth,
    /// The client's own map.
    pub metadata: Metadata,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// When it was archived.
    pub archived_at: Option<Timestamp>,
}

crate::literal! {
    /// The `type` of a credential.
    CredentialTag = "vault_credential"
}

#[cfg(test)]
mod tests;
