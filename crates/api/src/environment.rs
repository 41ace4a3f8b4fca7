//! Environments: what a sandbox contains and what it may reach.

pub mod create;
pub mod egress;
pub mod hosting;
pub mod networking;
pub mod update;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Invalid;
use crate::limits;
use crate::metadata::Metadata;
use crate::patch::Patch;
use crate::read::{At, Fields, NOT_SERVED, Read, quoted, unserved};
use crate::time::Timestamp;

pub use create::CreateEnvironment;
pub use egress::{Egress, EgressParams};
pub use hosting::{Hosting, HostingParams};
pub use networking::{Networking, NetworkingParams};
pub use update::UpdateEnvironment;

/// An environment, as clients see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// `env_…`.
    pub id: String,
    /// Always `environment`.
    #[serde(rename = "type")]
    pub kind: EnvironmentTag,
    /// What it is.
    #[serde(flatten)]
    pub definition: Definition,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// When it was archived.
    pub archived_at: Option<Timestamp>,
}

crate::literal! {
    /// The `type` of an environment.
    EnvironmentTag = "environment"
}

/// What a client decides about an environment, resolved; this is what is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// The name for people.
    pub name: String,
    /// More for people.
    pub description: Option<String>,
    /// The client's own map.
    pub metadata: Metadata,
    /// Who may use it.
    pub scope: Scope,
    /// What its sandboxes are.
    pub config: Config,
}

/// Who may use an environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Everyone in the workspace.
    #[default]
    Organization,
}

/// What the sandboxes of an environment are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Always `cloud`: the server's own sandboxes.
    #[serde(rename = "type")]
    pub kind: ConfigTag,
    /// What a sandbox may reach.
    pub networking: Networking,
    /// What is installed at first; always empty, not served yet.
    pub packages: Packages,
    /// How the sandboxes live. Environments that were stored without it have the default.
    #[serde(default)]
    pub hosting: Hosting,
    /// What may leave beyond `networking`. As above.
    #[serde(default)]
    pub egress: Egress,
}

crate::literal! {
    /// The only kind of environment that is served.
    ConfigTag = "cloud"
}

/// Packages by their manager.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packages {
    /// Always `packages`.
    #[serde(rename = "type")]
    pub kind: PackagesTag,
    /// Debian packages.
    pub apt: Vec<String>,
    /// Rust crates.
    pub cargo: Vec<String>,
    /// Ruby gems.
    pub gem: Vec<String>,
    /// Go modules.
    pub go: Vec<String>,
    /// npm packages.
    pub npm: Vec<String>,
    /// Python packages.
    pub pip: Vec<String>,
}

crate::literal! {
    /// The `type` of a package list.
    PackagesTag = "packages"
}

/// `config` as a request gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigParams {
    /// What a sandbox may reach, when the request says.
    pub networking: Option<NetworkingParams>,
    /// How the sandboxes live.
    pub hosting: Patch<HostingParams>,
    /// What may leave.
    pub egress: Patch<EgressParams>,
}

/// Which environments a request may name. A change of kind has its own error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Create,
    Update,
}

impl ConfigParams {
    fn take(fields: &mut Fields<'_>, purpose: Use) -> Result<Option<ConfigParams>, Invalid> {
        let at = fields.at();
        let Some(value) = fields.optional::<Value>("config")? else {
            return Ok(None);
        };
        let at = at.key("config");
        let mut config = Fields::of(value, at)?;
        check_kind(&config.tag("type")?, purpose, at.key("type"))?;
        let networking = config.optional("networking")?;
        if let Some(packages) = config.optional::<Value>("packages")? {
            check_packages(packages, at.key("packages"))?;
        }
        let hosting = config.patch("hosting")?;
        let egress = config.patch("egress")?;
        config.finish()?;
        Ok(Some(ConfigParams {
            networking,
            hosting,
            egress,
        }))
    }

    /// What holds after merging into what is stored.
    fn merge(self, stored: &Config) -> Result<Config, Invalid> {
        let mut config = stored.clone();
        if let Some(networking) = self.networking {
            config.networking = networking.merge(&stored.networking);
        }
        match self.hosting {
            Patch::Absent => {}
            Patch::Null => config.hosting = Hosting::default(),
            Patch::Value(hosting) => {
                let root = At::root();
                let at = root.key("config");
                config.hosting = hosting.merge(&stored.hosting, at.key("hosting"))?;
            }
        }
        match self.egress {
            Patch::Absent => {}
            Patch::Null => config.egress = Egress::default(),
            Patch::Value(egress) => config.egress = egress.merge(&stored.egress),
        }
        Ok(config)
    }
}

fn check_kind(kind: &str, purpose: Use, at: At<'_>) -> Result<(), Invalid> {
    match (kind, purpose) {
        ("cloud", _) => Ok(()),
        ("self_hosted", Use::Create) => Err(at.invalid(format!("`self_hosted` is {NOT_SERVED}"))),
        ("self_hosted", Use::Update) => Err(at
            .invalid("is `cloud` and cannot be changed")
            .with_code("invalid_config_type_change")),
        (other, _) => Err(at.invalid(format!(
            "must be `cloud` or `self_hosted`, got {}",
            quoted(other)
        ))),
    }
}

fn check_packages(value: Value, at: At<'_>) -> Result<(), Invalid> {
    let mut fields = Fields::of(value, at)?;
    if fields
        .optional::<Value>("type")?
        .is_some_and(|kind| kind != "packages")
    {
        return Err(at.key("type").invalid("must be `packages`"));
    }
    for manager in ["apt", "cargo", "gem", "go", "npm", "pip"] {
        unserved(&mut fields, manager)?;
    }
    fields.finish()
}

impl Read for Scope {
    fn read(value: Value, at: At<'_>) -> Result<Scope, Invalid> {
        match String::read(value, at)?.as_str() {
            "organization" => Ok(Scope::Organization),
            "account" => Err(at.invalid("only `organization` can be used with an API key")),
            other => Err(at.invalid(format!("must be `organization`, got {}", quoted(other)))),
        }
    }
}

fn check_text(name: Option<&str>, description: Option<&str>) -> Result<(), Invalid> {
    let root = At::root();
    if let Some(name) = name {
        limits::text(name, 1, limits::NAME, root.key("name"))?;
    }
    limits::text(
        description.unwrap_or(""),
        0,
        limits::ENVIRONMENT_DESCRIPTION,
        root.key("description"),
    )
}

#[cfg(test)]
mod tests;
