//! What a turn and a session of an environment may use. Hitting a limit ends the turn; the session
//! stays resumable.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{count, duration};
use crate::error::Invalid;
use crate::money::MonetaryAmount;
use crate::patch::Patch;
use crate::read::{At, Fields, Read};

/// What a turn and a session may use; `None` is no limit of the environment's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Rounds of model and tools in one turn.
    pub max_turns: Option<u32>,
    /// What a session may cost at list prices.
    pub max_cost: Option<MonetaryAmount>,
    /// How long one turn may take.
    #[serde(with = "duration")]
    pub max_turn_seconds: Option<Duration>,
    /// Tool calls in one turn.
    pub max_tool_calls: Option<u32>,
}

/// `limits` as a request gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitsParams {
    max_turns: Patch<u32>,
    max_cost: Patch<MonetaryAmount>,
    max_turn_seconds: Patch<Duration>,
    max_tool_calls: Patch<u32>,
}

/// `max_turn_seconds` carries its unit in its name, so it is a number only.
struct Seconds(Duration);

impl Read for Seconds {
    fn read(value: Value, at: At<'_>) -> Result<Seconds, Invalid> {
        duration::seconds(&value, at).map(Seconds)
    }
}

impl Read for LimitsParams {
    fn read(value: Value, at: At<'_>) -> Result<LimitsParams, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let params = LimitsParams {
            max_turns: count(&mut fields, "max_turns", 1, u32::MAX)?,
            max_cost: fields.patch("max_cost")?,
            max_turn_seconds: match fields.patch::<Seconds>("max_turn_seconds")? {
                Patch::Absent => Patch::Absent,
                Patch::Null => Patch::Null,
                Patch::Value(Seconds(duration)) => Patch::Value(duration),
            },
            max_tool_calls: count(&mut fields, "max_tool_calls", 1, u32::MAX)?,
        };
        fields.finish()?;
        Ok(params)
    }
}

impl LimitsParams {
    pub(super) fn apply(self, stored: &mut Limits) {
        self.max_turns.apply(&mut stored.max_turns);
        self.max_cost.apply(&mut stored.max_cost);
        self.max_turn_seconds.apply(&mut stored.max_turn_seconds);
        self.max_tool_calls.apply(&mut stored.max_tool_calls);
    }
}
