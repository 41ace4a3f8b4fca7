//! The request that creates an environment.

use serde_json::Value;

use super::{Config, ConfigParams, Definition, Use, check_text};
use crate::error::Invalid;
use crate::metadata::NewMetadata;
use crate::read::{At, Fields, Read};

/// A new environment, checked and with every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateEnvironment {
    /// What is stored.
    pub definition: Definition,
}

impl Read for CreateEnvironment {
    fn read(value: Value, at: At<'_>) -> Result<CreateEnvironment, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let name: String = fields.required("name")?;
        let description: Option<String> = fields.optional("description")?;
        let config = ConfigParams::take(&mut fields, Use::Create)?.unwrap_or_default();
        let metadata = fields
            .optional::<NewMetadata>("metadata")?
            .unwrap_or_default()
            .0;
        let scope = fields.optional("scope")?.unwrap_or_default();
        fields.finish()?;
        check_text(Some(&name), description.as_deref())?;
        let config = config.merge(&Config::default())?;
        Ok(CreateEnvironment {
            definition: Definition {
                name,
                description,
                metadata,
                scope,
                config,
            },
        })
    }
}
