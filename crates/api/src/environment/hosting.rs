//! How the sandboxes of an environment live: `config.hosting`, an extension of the public contract.
//!
//! A request names the keys it wants to change ([`HostingParams`]); what is stored and shown is
//! [`Hosting`], where every key has its value. In an update an absent key keeps what is stored, null
//! resets it to its default, at every level. `idle_timeout` and `max_sessions` have a default per
//! pattern: they follow a change of the pattern unless they were set to something else.
//!
//! Never knows the server's settings: what is null here is decided by them when a sandbox is made.

mod duration;
mod isolation;
mod limits;
mod pool;
mod resources;
mod retention;

use std::time::Duration;

use semver::VersionReq;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Invalid;
use crate::patch::Patch;
use crate::read::{At, Fields, Read, expected, quoted};

pub use isolation::{Isolation, IsolationParams, Level};
pub use limits::{Limits, LimitsParams};
pub use pool::{Pool, PoolParams};
pub(crate) use resources::bytes;
pub use resources::{Cpu, Resources, ResourcesParams};
pub use retention::{Retention, RetentionParams};

/// How the sandboxes of an environment live, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hosting {
    /// Which life.
    pub pattern: Pattern,
    /// What makes the sandboxes.
    pub provider: Provider,
    /// What must stand between a sandbox and the host.
    pub isolation: Isolation,
    /// What one sandbox may use.
    pub resources: Resources,
    /// How long a session may be idle before the pattern acts; `None` is for ever.
    #[serde(with = "duration")]
    pub idle_timeout: Option<Duration>,
    /// The age at which a sandbox is replaced between turns; `None` is never.
    #[serde(with = "duration")]
    pub max_lifetime: Option<Duration>,
    /// Sessions in one sandbox.
    pub max_sessions: u32,
    /// Sandboxes that are kept ready.
    pub pool: Pool,
    /// The versions of the CLI that fit; `None` takes the server's.
    pub cli: Option<VersionReq>,
    /// What a turn and a session may use.
    pub limits: Limits,
    /// What an ephemeral session becomes when it is done.
    pub when_done: WhenDone,
    /// How long what has ended is kept.
    pub retention: Retention,
}

/// The life of a session and its sandbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// One sandbox per task, destroyed when the task is done.
    Ephemeral,
    /// Sandboxes stay until told otherwise.
    LongRunning,
    /// Saved and destroyed when idle, brought back by the next message.
    #[default]
    Hybrid,
    /// One sandbox for several sessions that work together.
    Shared,
}

/// What makes sandboxes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Containers on the server's host.
    #[default]
    Oci,
}

/// What an ephemeral session becomes when it is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenDone {
    /// Terminated; it takes no further message.
    #[default]
    Terminate,
    /// Idle, and resumable in a new sandbox.
    Keep,
}

/// The most sessions that one sandbox can hold: each needs a uid and two loopback ports of its own.
const MAX_SESSIONS: u32 = 64;

impl Pattern {
    /// `idle_timeout` unless the environment says otherwise.
    #[must_use]
    pub fn idle_timeout(self) -> Option<Duration> {
        (self == Pattern::Hybrid).then_some(Duration::from_secs(600))
    }

    /// `max_sessions` unless the environment says otherwise.
    #[must_use]
    pub fn max_sessions(self) -> u32 {
        if self == Pattern::Shared { 8 } else { 1 }
    }

    /// Whether a sandbox can hold more than one session.
    #[must_use]
    pub fn shares(self) -> bool {
        matches!(self, Pattern::LongRunning | Pattern::Shared)
    }
}

impl Hosting {
    /// Whether others may sit in a session's sandbox.
    #[must_use]
    pub fn has_company(&self) -> bool {
        self.pattern == Pattern::Shared || self.max_sessions > 1
    }
}

impl Default for Hosting {
    fn default() -> Hosting {
        let pattern = Pattern::default();
        Hosting {
            pattern,
            provider: Provider::default(),
            isolation: Isolation::default(),
            resources: Resources::default(),
            idle_timeout: pattern.idle_timeout(),
            max_lifetime: None,
            max_sessions: pattern.max_sessions(),
            pool: Pool::default(),
            cli: None,
            limits: Limits::default(),
            when_done: WhenDone::default(),
            retention: Retention::default(),
        }
    }
}

impl Hosting {
    /// Checks the rules that hold between keys.
    fn check(&self, at: At<'_>) -> Result<(), Invalid> {
        let sessions = self.max_sessions;
        if sessions > 1 && !self.pattern.shares() {
            let rule = "must be 1 unless `pattern` is `long_running` or `shared`";
            return Err(at
                .key("max_sessions")
                .invalid(format!("{rule}, got {sessions}")));
        }
        if self.pool.min > self.pool.max {
            let Pool { min, max } = self.pool;
            let rule = format!("must not be above `max`, got {min} and {max}");
            return Err(at.key("pool").key("min").invalid(rule));
        }
        if self.pool.max > 0 && self.has_company() {
            let rule = format!(
                "needs a sandbox for each session: `max_sessions` 1, which is {sessions}, and a `pattern` other than `shared`"
            );
            return Err(at.key("pool").invalid(rule));
        }
        Ok(())
    }
}

/// `hosting` as a request gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostingParams {
    pattern: Patch<Pattern>,
    provider: Patch<Provider>,
    isolation: Patch<IsolationParams>,
    resources: Patch<ResourcesParams>,
    idle_timeout: Patch<Duration>,
    max_lifetime: Patch<Duration>,
    max_sessions: Patch<u32>,
    pool: Patch<PoolParams>,
    cli: Patch<VersionReq>,
    limits: Patch<LimitsParams>,
    when_done: Patch<WhenDone>,
    retention: Patch<RetentionParams>,
}

impl Read for HostingParams {
    fn read(value: Value, at: At<'_>) -> Result<HostingParams, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let params = HostingParams {
            pattern: fields.patch("pattern")?,
            provider: fields.patch("provider")?,
            isolation: fields.patch("isolation")?,
            resources: fields.patch("resources")?,
            idle_timeout: duration::patch(&mut fields, "idle_timeout")?,
            max_lifetime: duration::patch(&mut fields, "max_lifetime")?,
            max_sessions: count(&mut fields, "max_sessions", 1, MAX_SESSIONS)?,
            pool: fields.patch("pool")?,
            cli: fields.patch("cli")?,
            limits: fields.patch("limits")?,
            when_done: fields.patch("when_done")?,
            retention: fields.patch("retention")?,
        };
        fields.finish()?;
        Ok(params)
    }
}

impl HostingParams {
    /// What holds after merging into what is stored; `at` is where `hosting` stands.
    ///
    /// # Errors
    /// When the result breaks a rule that holds between keys.
    pub fn merge(self, stored: &Hosting, at: At<'_>) -> Result<Hosting, Invalid> {
        let mut hosting = stored.clone();
        self.pattern.apply_or_default(&mut hosting.pattern);
        let pattern = hosting.pattern;
        if stored.idle_timeout == stored.pattern.idle_timeout() {
            hosting.idle_timeout = pattern.idle_timeout();
        }
        if stored.max_sessions == stored.pattern.max_sessions() {
            hosting.max_sessions = pattern.max_sessions();
        }
        self.provider.apply_or_default(&mut hosting.provider);
        merge_group(
            self.isolation,
            &mut hosting.isolation,
            IsolationParams::apply,
        );
        merge_group(
            self.resources,
            &mut hosting.resources,
            ResourcesParams::apply,
        );
        match self.idle_timeout {
            Patch::Null => hosting.idle_timeout = pattern.idle_timeout(),
            given => given.apply(&mut hosting.idle_timeout),
        }
        self.max_lifetime.apply(&mut hosting.max_lifetime);
        match self.max_sessions {
            Patch::Null => hosting.max_sessions = pattern.max_sessions(),
            given => given.apply_or_default(&mut hosting.max_sessions),
        }
        merge_group(self.pool, &mut hosting.pool, PoolParams::apply);
        self.cli.apply(&mut hosting.cli);
        merge_group(self.limits, &mut hosting.limits, LimitsParams::apply);
        self.when_done.apply_or_default(&mut hosting.when_done);
        merge_group(
            self.retention,
            &mut hosting.retention,
            RetentionParams::apply,
        );
        hosting.check(at)?;
        Ok(hosting)
    }
}

/// Merges a group of keys: null resets all of them.
fn merge_group<P, T: Default>(params: Patch<P>, stored: &mut T, apply: fn(P, &mut T)) {
    match params {
        Patch::Absent => {}
        Patch::Null => *stored = T::default(),
        Patch::Value(params) => apply(params, stored),
    }
}

/// Takes a whole number between `min` and `max`.
pub(crate) fn count(
    fields: &mut Fields<'_>,
    key: &'static str,
    min: u32,
    max: u32,
) -> Result<Patch<u32>, Invalid> {
    let value = match fields.patch::<Value>(key)? {
        Patch::Absent => return Ok(Patch::Absent),
        Patch::Null => return Ok(Patch::Null),
        Patch::Value(value) => value,
    };
    let number = value
        .as_u64()
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| (min..=max).contains(number));
    let rule = || expected(&format!("an integer from {min} to {max}"), &value);
    number
        .map(Patch::Value)
        .ok_or_else(|| fields.at().key(key).invalid(rule()))
}

/// Reads one of a few words.
pub(super) fn word<T: Copy>(value: Value, at: At<'_>, known: &[(&str, T)]) -> Result<T, Invalid> {
    let given = String::read(value, at)?;
    if let Some((_, value)) = known.iter().find(|(name, _)| *name == given) {
        return Ok(*value);
    }
    let names: Vec<String> = known.iter().map(|(name, _)| format!("`{name}`")).collect();
    let names = names.join(", ");
    Err(at.invalid(format!("known here: {names}; got {}", quoted(&given))))
}

impl Read for Pattern {
    fn read(value: Value, at: At<'_>) -> Result<Pattern, Invalid> {
        let known = [
            ("ephemeral", Pattern::Ephemeral),
            ("long_running", Pattern::LongRunning),
            ("hybrid", Pattern::Hybrid),
            ("shared", Pattern::Shared),
        ];
        word(value, at, &known)
    }
}

impl Read for Provider {
    fn read(value: Value, at: At<'_>) -> Result<Provider, Invalid> {
        word(value, at, &[("oci", Provider::Oci)])
    }
}

impl Read for WhenDone {
    fn read(value: Value, at: At<'_>) -> Result<WhenDone, Invalid> {
        let known = [("terminate", WhenDone::Terminate), ("keep", WhenDone::Keep)];
        word(value, at, &known)
    }
}

impl Read for VersionReq {
    fn read(value: Value, at: At<'_>) -> Result<VersionReq, Invalid> {
        let given = String::read(value, at)?;
        VersionReq::parse(&given).map_err(|error| {
            let rule = "must be a semver requirement such as \"^2.1\"";
            at.invalid(format!("{rule}, got {}: {error}", quoted(&given)))
        })
    }
}

#[cfg(test)]
mod tests;
