//! What all sessions of an agent may use together: `limits`, an extension of the public contract. It
//! belongs to the agent and not to one version's snapshot in a session: the newest version's counts.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Invalid;
use crate::money::MonetaryAmount;
use crate::patch::Patch;
use crate::read::{At, Fields, Read};

/// What all sessions of an agent may use together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentLimits {
    /// What a day (in UTC) may cost at list prices; `None` is the server's setting.
    pub max_cost_per_day: Option<MonetaryAmount>,
}

/// `limits` as a request gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentLimitsParams {
    max_cost_per_day: Patch<MonetaryAmount>,
}

impl Read for AgentLimitsParams {
    fn read(value: Value, at: At<'_>) -> Result<AgentLimitsParams, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let max_cost_per_day = fields.patch("max_cost_per_day")?;
        fields.finish()?;
        Ok(AgentLimitsParams { max_cost_per_day })
    }
}

impl AgentLimits {
    /// What holds after a change. Limits that limit nothing are none, so that a change back to what
    /// was before makes no new version.
    #[must_use]
    pub fn changed(
        stored: Option<AgentLimits>,
        change: Patch<AgentLimitsParams>,
    ) -> Option<AgentLimits> {
        let mut limits = stored.unwrap_or_default();
        match change {
            Patch::Absent => {}
            Patch::Null => limits = AgentLimits::default(),
            Patch::Value(given) => given.max_cost_per_day.apply(&mut limits.max_cost_per_day),
        }
        Some(limits).filter(|limits| *limits != AgentLimits::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn change(stored: Option<&AgentLimits>, value: Value) -> Option<AgentLimits> {
        let mut fields = Fields::of(json!({"limits": value}), At::root()).unwrap();
        AgentLimits::changed(stored.cloned(), fields.patch("limits").unwrap())
    }

    #[test]
    fn a_limit_is_set_kept_and_removed() {
        let five = json!({"amount": "500", "currency": "USD"});
        let stored = change(None, json!({"max_cost_per_day": five})).unwrap();
        assert_eq!(stored.max_cost_per_day.as_ref().unwrap().cents(), 500);
        assert_eq!(change(Some(&stored), json!({})), Some(stored.clone()));
        for none in [json!(null), json!({"max_cost_per_day": null})] {
            assert_eq!(change(Some(&stored), none), None);
        }
        assert_eq!(change(None, json!({})), None);
    }

    #[test]
    fn refusals_name_the_place() {
        for (given, message) in [
            (json!({"limits": 5}), "limits: must be an object"),
            (
                json!({"limits": {"max_cost": null}}),
                "limits.max_cost: unknown field; known here: `max_cost_per_day`",
            ),
            (
                json!({"limits": {"max_cost_per_day": {"amount": "5.0", "currency": "USD"}}}),
                "limits.max_cost_per_day.amount: must be whole cents",
            ),
        ] {
            let mut fields = Fields::of(given, At::root()).unwrap();
            let error = fields.patch::<AgentLimitsParams>("limits").unwrap_err();
            assert!(error.message.starts_with(message), "{}", error.message);
        }
    }
}
