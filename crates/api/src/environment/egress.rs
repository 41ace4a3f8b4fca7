//! What may leave the sandboxes of an environment beyond `networking`: `config.egress`, an extension
//! of the public contract.
//!
//! Rules are asked in their order and the first that matches decides; where none does, `networking`
//! decides. In an update an absent key keeps what is stored, null resets it to its default; `rules`
//! are replaced as a whole.
//!
//! Never decides itself: what a rule means for a request is the way out's to say.

mod limits;
mod rule;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hosting::word;
use crate::error::Invalid;
use crate::limits as bounds;
use crate::patch::Patch;
use crate::read::{At, Fields, Read};

pub use limits::{Limits, LimitsParams};
pub use rule::{Action, Rule};

/// What may leave, resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Egress {
    /// The first that matches decides.
    pub rules: Vec<Rule>,
    /// How much of everything one session may use.
    pub limits: Limits,
    /// Whether names may stand for addresses of private networks.
    pub private_addresses: PrivateAddresses,
}

/// Whether names may stand for addresses of private networks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrivateAddresses {
    /// They are refused.
    #[default]
    Deny,
    /// They are allowed where the server's operator allows it.
    Allow,
}

/// `egress` as a request gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressParams {
    rules: Patch<Vec<Rule>>,
    limits: Patch<LimitsParams>,
    private_addresses: Patch<PrivateAddresses>,
}

impl Read for EgressParams {
    fn read(value: Value, at: At<'_>) -> Result<EgressParams, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let params = EgressParams {
            rules: fields.patch("rules")?,
            limits: fields.patch("limits")?,
            private_addresses: fields.patch("private_addresses")?,
        };
        fields.finish()?;
        if let Patch::Value(rules) = &params.rules {
            bounds::items(rules.len(), bounds::EGRESS_RULES, at.key("rules"))?;
        }
        Ok(params)
    }
}

impl EgressParams {
    /// What holds after merging into what is stored.
    #[must_use]
    pub fn merge(self, stored: &Egress) -> Egress {
        let mut egress = stored.clone();
        self.rules.apply_or_default(&mut egress.rules);
        match self.limits {
            Patch::Absent => {}
            Patch::Null => egress.limits = Limits::default(),
            Patch::Value(limits) => limits.apply(&mut egress.limits),
        }
        self.private_addresses
            .apply_or_default(&mut egress.private_addresses);
        egress
    }
}

impl Read for PrivateAddresses {
    fn read(value: Value, at: At<'_>) -> Result<PrivateAddresses, Invalid> {
        let known = [
            ("deny", PrivateAddresses::Deny),
            ("allow", PrivateAddresses::Allow),
        ];
        word(value, at, &known)
    }
}

#[cfg(test)]
mod tests;
