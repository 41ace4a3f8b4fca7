//! How much of the way out one session may use. What happens when a limit is hit is said at each.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Invalid;
use crate::patch::Patch;
use crate::read::{At, Fields, Read, expected};

/// How much one session may use; `None` is no limit of the environment's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Requests and tunnels that begin in one second. Those above wait for their turn, and are
    /// refused with 429 when that would take longer than half a minute.
    pub requests_per_second: Option<u32>,
    /// Bytes that come in over the session's life. When they are used up, what is under way is cut
    /// and everything else refused.
    pub bytes_in: Option<u64>,
    /// Bytes that go out over the session's life; as `bytes_in`.
    pub bytes_out: Option<u64>,
    /// Connections to hosts at once. Further ones wait for half a minute, and are refused with 503.
    pub connections: Option<u32>,
}

/// `limits` as a request gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitsParams {
    requests_per_second: Patch<u32>,
    bytes_in: Patch<u64>,
    bytes_out: Patch<u64>,
    connections: Patch<u32>,
}

/// The most requests in a second that can be told apart from no limit.
const REQUESTS: u64 = 100_000;
/// Connections of a session are bounded by the server to this anyway.
const CONNECTIONS: u64 = 128;
/// The most that numbers of JSON carry exactly everywhere.
const BYTES: u64 = 1 << 53;

impl Read for LimitsParams {
    fn read(value: Value, at: At<'_>) -> Result<LimitsParams, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let params = LimitsParams {
            requests_per_second: small(&mut fields, "requests_per_second", REQUESTS)?,
            bytes_in: whole(&mut fields, "bytes_in", BYTES)?,
            bytes_out: whole(&mut fields, "bytes_out", BYTES)?,
            connections: small(&mut fields, "connections", CONNECTIONS)?,
        };
        fields.finish()?;
        Ok(params)
    }
}

impl LimitsParams {
    pub(super) fn apply(self, stored: &mut Limits) {
        self.requests_per_second
            .apply(&mut stored.requests_per_second);
        self.bytes_in.apply(&mut stored.bytes_in);
        self.bytes_out.apply(&mut stored.bytes_out);
        self.connections.apply(&mut stored.connections);
    }
}

fn small(fields: &mut Fields<'_>, key: &'static str, max: u64) -> Result<Patch<u32>, Invalid> {
    Ok(match whole(fields, key, max)? {
        Patch::Absent => Patch::Absent,
        Patch::Null => Patch::Null,
        Patch::Value(number) => Patch::Value(u32::try_from(number).unwrap_or(u32::MAX)),
    })
}

/// Takes a whole number from 1 to `max`.
fn whole(fields: &mut Fields<'_>, key: &'static str, max: u64) -> Result<Patch<u64>, Invalid> {
    let value = match fields.patch::<Value>(key)? {
        Patch::Absent => return Ok(Patch::Absent),
        Patch::Null => return Ok(Patch::Null),
        Patch::Value(value) => value,
    };
    match value.as_u64().filter(|number| (1..=max).contains(number)) {
        Some(number) => Ok(Patch::Value(number)),
        None => {
            let rule = expected(&format!("an integer from 1 to {max}"), &value);
            Err(fields.at().key(key).invalid(rule))
        }
    }
}
