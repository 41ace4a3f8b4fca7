//! Vaults: named sets of credentials that sessions are given.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Invalid;
use crate::limits;
use crate::metadata::{Metadata, MetadataPatch, NewMetadata};
use crate::read::{At, Fields, Read};
use crate::time::Timestamp;

/// A vault as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vault {
    /// `vlt_…`.
    pub id: String,
    /// Always `vault`.
    #[serde(rename = "type")]
    pub kind: VaultTag,
    /// A name for people.
    pub display_name: String,
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
    /// The `type` of a vault.
    VaultTag = "vault"
}

/// A vault to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateVault {
    /// A name for people.
    pub display_name: String,
    /// The client's own map.
    pub metadata: Metadata,
}

/// A change of a vault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateVault {
    /// The new name; `None` keeps.
    pub display_name: Option<String>,
    /// Changes to the client's own map.
    pub metadata: Option<MetadataPatch>,
}

impl Read for CreateVault {
    fn read(value: Value, at: At<'_>) -> Result<CreateVault, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let display_name: String = fields.required("display_name")?;
        let metadata = fields.optional::<NewMetadata>("metadata")?;
        fields.finish()?;
        check_name(&display_name, at)?;
        Ok(CreateVault {
            display_name,
            metadata: metadata.unwrap_or_default().0,
        })
    }
}

impl Read for UpdateVault {
    fn read(value: Value, at: At<'_>) -> Result<UpdateVault, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let display_name: Option<String> = fields.not_null("display_name")?;
        let metadata = fields.optional("metadata")?;
        fields.finish()?;
        if let Some(name) = &display_name {
            check_name(name, at)?;
        }
        Ok(UpdateVault {
            display_name,
            metadata,
        })
    }
}

fn check_name(name: &str, at: At<'_>) -> Result<(), Invalid> {
    limits::text(name, 1, limits::DISPLAY_NAME, at.key("display_name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_vault_has_a_name_and_nothing_unknown() {
        let read = |value| CreateVault::read(value, At::root());
        assert_eq!(
            read(json!({"display_name": "a"})).unwrap().display_name,
            "a"
        );
        for (given, message) in [
            (json!({}), "display_name: field required"),
            (json!({"display_name": ""}), "display_name: cannot be empty"),
            (
                json!({"display_name": "é".repeat(256)}),
                "display_name: at most 255 characters, got 256",
            ),
            (
                json!({"display_name": "a", "credentials": []}),
                "credentials: unknown field",
            ),
        ] {
            let error = read(given).unwrap_err();
            assert!(error.message.starts_with(message), "{}", error.message);
        }
        let update = UpdateVault::read(json!({"display_name": null}), At::root());
        assert_eq!(update.unwrap_err().message, "display_name: cannot be null");
    }
}
