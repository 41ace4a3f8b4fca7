//! What programs sent that went nowhere: packets to places that no way leads to.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Kinds of packets that one [`crate::Open::Strays`] tells apart.
pub const STRAYS_MAX: usize = 32;

/// Packets of one protocol to one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stray {
    /// The protocol on top of IP, by its number: 6 for TCP, 17 for UDP.
    pub protocol: u8,
    /// Where to.
    pub address: IpAddr,
    /// Its port; 0 where the protocol has none.
    pub port: u16,
    /// Whose, in a sandbox of several members; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// How many.
    pub count: u64,
}
