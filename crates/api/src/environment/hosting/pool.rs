//! Sandboxes that are kept ready, with a CLI that has been started and has seen nobody's data. Between
//! `min` and `max` of them, by demand; zero to zero keeps none.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::count;
use crate::error::Invalid;
use crate::patch::Patch;
use crate::read::{At, Fields, Read};

/// The most that one environment may keep ready: each costs memory while nobody uses it.
const MOST: u32 = 64;

/// How many sandboxes are kept ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pool {
    /// Always at least so many.
    pub min: u32,
    /// Never more than so many.
    pub max: u32,
}

/// `pool` as a request gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolParams {
    min: Patch<u32>,
    max: Patch<u32>,
}

impl Read for PoolParams {
    fn read(value: Value, at: At<'_>) -> Result<PoolParams, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let params = PoolParams {
            min: count(&mut fields, "min", 0, MOST)?,
            max: count(&mut fields, "max", 0, MOST)?,
        };
        fields.finish()?;
        Ok(params)
    }
}

impl PoolParams {
    pub(super) fn apply(self, stored: &mut Pool) {
        self.min.apply_or_default(&mut stored.min);
        self.max.apply_or_default(&mut stored.max);
    }
}
