//! Sandboxes that several sessions share, and sandboxes that rest: what is asked and answered.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

/// The limits of one group in a sandbox, besides those of the sandbox as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupLimits {
    /// Bytes of memory, page cache included; `None` for as much as the sandbox may have.
    pub memory_bytes: Option<u64>,
}

/// What a sandbox or a group has taken, counted by the kernel and read without asking the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// Processor time since it was made, of ended processes too.
    pub processor_time: Duration,
    /// Bytes of memory now, page cache included.
    pub memory_bytes: u64,
    /// The part of it that belongs to no file, and so cannot be given back without swap.
    pub anonymous_bytes: u64,
    /// Processes now.
    pub processes: u64,
    /// Bytes that were moved to swap.
    pub swap_bytes: u64,
}

/// The [`Footprint`] of a sandbox and of each group in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprints {
    /// Everything, the groups included.
    pub sandbox: Footprint,
    /// By name. A process's memory from before it joined may stay with the sandbox.
    pub groups: BTreeMap<String, Footprint>,
}

/// What came of reclaiming a sandbox's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reclaimed {
    /// Bytes of memory that the host has back.
    Bytes(u64),
    /// The host has neither swap nor zram: nothing was tried.
    NoSwap,
}
