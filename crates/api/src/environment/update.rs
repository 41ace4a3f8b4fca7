//! The request that changes an environment, which is not versioned.

use serde_json::Value;

use super::{ConfigParams, Definition, Scope, Use, check_text};
use crate::error::Invalid;
use crate::metadata::MetadataPatch;
use crate::patch::Patch;
use crate::read::{At, Fields, Read};

/// Changes to an environment.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateEnvironment {
    name: Option<String>,
    description: Patch<String>,
    config: Option<ConfigParams>,
    metadata: Option<MetadataPatch>,
    scope: Option<Scope>,
}

impl Read for UpdateEnvironment {
    fn read(value: Value, at: At<'_>) -> Result<UpdateEnvironment, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let update = UpdateEnvironment {
            // The client's types allow a null name, which cannot clear it and so means nothing.
            name: fields.optional("name")?,
            description: fields.patch("description")?,
            config: ConfigParams::take(&mut fields, Use::Update)?,
            metadata: fields.optional("metadata")?,
            scope: fields.optional("scope")?,
        };
        fields.finish()?;
        let description = match &update.description {
            Patch::Value(text) => Some(text.as_str()),
            Patch::Absent | Patch::Null => None,
        };
        check_text(update.name.as_deref(), description)?;
        Ok(update)
    }
}

impl UpdateEnvironment {
    /// What the environment is after the change. Equal to `stored` when nothing changes.
    ///
    /// # Errors
    /// When the metadata would grow too large, or the hosting breaks a rule between its keys.
    pub fn apply(self, stored: &Definition) -> Result<Definition, Invalid> {
        let mut definition = stored.clone();
        if let Some(name) = self.name {
            definition.name = name;
        }
        self.description.apply(&mut definition.description);
        if let Some(config) = self.config {
            definition.config = config.merge(&stored.config)?;
        }
        if let Some(metadata) = self.metadata {
            metadata
                .with_empty_as_null()
                .apply(&mut definition.metadata)?;
        }
        definition.scope = self.scope.unwrap_or(stored.scope);
        Ok(definition)
    }
}
