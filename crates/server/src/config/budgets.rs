//! What a day may cost.

use api::money::MonetaryAmount;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a day may cost at list prices, whoever asks. A day is one in UTC. Calls of models without a
/// price are refused where a budget holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budgets {
    /// All sessions of a workspace together, in whole US cents (`"10000"` is 100 dollars).
    pub workspace_per_day: Option<String>,
    /// All sessions of an agent together, in whole US cents, unless the agent has a limit of its own.
    pub agent_per_day: Option<String>,
}

/// An amount of these settings; they were checked to hold one.
#[must_use]
pub fn amount(cents: &str) -> MonetaryAmount {
    MonetaryAmount::from_cents(cents.parse().unwrap_or(0))
}

/// Whether a text is whole cents, as the API takes them.
#[must_use]
pub fn is_amount(cents: &str) -> bool {
    let digits = (1..=15).contains(&cents.len()) && cents.bytes().all(|byte| byte.is_ascii_digit());
    digits && !cents.starts_with('0')
}
