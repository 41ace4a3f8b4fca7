//! Workspaces: tenants, and what each may use. An extension of the public contract.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::environment::hosting::{bytes, count};
use crate::error::Invalid;
use crate::limits;
use crate::money::MonetaryAmount;
use crate::patch::Patch;
use crate::read::{At, Fields, Read};
use crate::time::Timestamp;

/// A workspace as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    /// `wrkspc_…`.
    pub id: String,
    /// Always `workspace`.
    #[serde(rename = "type")]
    pub kind: WorkspaceTag,
    /// A name for people.
    pub name: String,
    /// What it may use.
    pub limits: Limits,
    /// When it was made.
    pub created_at: Timestamp,
}

crate::literal! {
    /// The `type` of a workspace.
    WorkspaceTag = "workspace"
}

/// What a workspace may use; null is no limit beyond the server's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Sandboxes at one time; sessions beyond wait.
    pub max_sandboxes: Option<u32>,
    /// Memory of all its sandboxes at one time, in bytes; sessions beyond wait.
    pub max_memory: Option<u64>,
    /// Disk of all its sandboxes at one time, in bytes; sessions beyond wait.
    pub max_disk: Option<u64>,
    /// Sessions that are not over; creating more is refused.
    pub max_sessions: Option<u32>,
    /// Events that its clients send in a second; more are refused.
    pub max_events_per_second: Option<u32>,
    /// What a day (in UTC) may cost at list prices.
    pub max_cost_per_day: Option<MonetaryAmount>,
}

/// `limits` as a request gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitsParams {
    max_sandboxes: Patch<u32>,
    max_memory: Patch<u64>,
    max_disk: Patch<u64>,
    max_sessions: Patch<u32>,
    max_events_per_second: Patch<u32>,
    max_cost_per_day: Patch<MonetaryAmount>,
}

impl Read for LimitsParams {
    fn read(value: Value, at: At<'_>) -> Result<LimitsParams, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let params = LimitsParams {
            max_sandboxes: count(&mut fields, "max_sandboxes", 0, u32::MAX)?,
            max_memory: bytes(&mut fields, "max_memory")?,
            max_disk: bytes(&mut fields, "max_disk")?,
            max_sessions: count(&mut fields, "max_sessions", 0, u32::MAX)?,
            max_events_per_second: count(&mut fields, "max_events_per_second", 1, 1_000_000)?,
            max_cost_per_day: fields.patch("max_cost_per_day")?,
        };
        fields.finish()?;
        Ok(params)
    }
}

impl LimitsParams {
    fn apply(self, stored: &mut Limits) {
        self.max_sandboxes.apply(&mut stored.max_sandboxes);
        self.max_memory.apply(&mut stored.max_memory);
        self.max_disk.apply(&mut stored.max_disk);
        self.max_sessions.apply(&mut stored.max_sessions);
        self.max_events_per_second
            .apply(&mut stored.max_events_per_second);
        self.max_cost_per_day.apply(&mut stored.max_cost_per_day);
    }
}

impl Limits {
    /// What holds after a change: an absent key keeps what is stored, null removes a limit.
    #[must_use]
    pub fn changed(mut self, change: Patch<LimitsParams>) -> Limits {
        match change {
            Patch::Absent => {}
            Patch::Null => self = Limits::default(),
            Patch::Value(given) => given.apply(&mut self),
        }
        self
    }
}

/// A workspace to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateWorkspace {
    /// A name for people.
    pub name: String,
    /// What it may use.
    pub limits: Limits,
}

impl Read for CreateWorkspace {
    fn read(value: Value, at: At<'_>) -> Result<CreateWorkspace, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let name: String = fields.required("name")?;
        let limits = Limits::default().changed(fields.patch("limits")?);
        fields.finish()?;
        limits::text(&name, 1, limits::NAME, at.key("name"))?;
        Ok(CreateWorkspace { name, limits })
    }
}

/// A change of a workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateWorkspace {
    /// The new name; `None` keeps.
    pub name: Option<String>,
    /// New limits.
    pub limits: Patch<LimitsParams>,
}

impl Read for UpdateWorkspace {
    fn read(value: Value, at: At<'_>) -> Result<UpdateWorkspace, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let name: Option<String> = fields.not_null("name")?;
        let limits = fields.patch("limits")?;
        fields.finish()?;
        if let Some(name) = &name {
            limits::text(name, 1, limits::NAME, at.key("name"))?;
        }
        Ok(UpdateWorkspace { name, limits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_are_set_kept_and_removed() {
        let given = json!({"name": "a", "limits": {"max_sandboxes": 2, "max_memory": "2GiB",
            "max_cost_per_day": {"amount": "500", "currency": "USD"}}});
        let made = CreateWorkspace::read(given, At::root()).unwrap();
        assert_eq!(made.limits.max_sandboxes, Some(2));
        assert_eq!(made.limits.max_memory, Some(2 << 30));
        let change = |value| UpdateWorkspace::read(value, At::root()).unwrap().limits;
        let less = json!({"limits": {"max_memory": null, "max_sessions": 5}});
        let changed = made.limits.changed(change(less));
        assert_eq!((changed.max_memory, changed.max_sessions), (None, Some(5)));
        assert_eq!(changed.max_sandboxes, Some(2));
        assert_eq!(changed.clone().changed(change(json!({}))), changed);
        let none = changed.changed(change(json!({"limits": null})));
        assert_eq!(none, Limits::default());
    }

    #[test]
    fn refusals_name_the_place() {
        for (given, message) in [
            (json!({}), "name: field required"),
            (
                json!({"name": "a", "limits": {"max_agents": 1}}),
                "limits.max_agents: unknown",
            ),
            (
                json!({"name": "a", "limits": {"max_events_per_second": 0}}),
                "limits.max_events_per_second: must be an integer from 1",
            ),
            (
                json!({"name": "a", "limits": {"max_disk": 5}}),
                "limits.max_disk: must be at least",
            ),
        ] {
            let error = CreateWorkspace::read(given, At::root()).unwrap_err();
            assert!(error.message.starts_with(message), "{}", error.message);
        }
        let error = UpdateWorkspace::read(json!({"name": null}), At::root()).unwrap_err();
        assert_eq!(error.message, "name: cannot be null");
    }

    #[test]
    fn limits_are_shown_with_every_key() {
        let shown = serde_json::to_value(Limits::default()).unwrap();
        assert_eq!(shown.as_object().unwrap().len(), 6);
        assert!(shown.as_object().unwrap().values().all(Value::is_null));
    }
}
