//! What tokens cost.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What tokens cost, beyond the built-in table.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Prices {
    /// A TOML file with list prices that go before the built-in ones.
    pub file: Option<PathBuf>,
    /// The price of models that are in neither. Without it they have none: their calls are counted as
    /// unpriced, and refused where a budget holds.
    pub unknown: Option<Unknown>,
}

/// The price of models that are not listed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unknown {
    /// Dollars per million tokens of input. Cache reads cost the same, cache writes 1.25 and 2 times it.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub input: f64,
    /// Dollars per million tokens of output.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub output: f64,
}
