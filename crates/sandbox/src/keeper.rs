//! The keeper: the [`oci`](crate::oci) provider in a process of its own, the only one with privileges,
//! for a server that has none.
//!
//! ```text
//!   server (a user without capabilities)            keeper (root)
//!   ┌────────────────────┐   one unix socket   ┌───────────────────────┐
//!   │ Remote ─ Provider ─┼── requests ────────▶│ Bounds ──▶ Oci        │──▶ helper ──▶ sandbox
//!   │                    │◀── replies, links ──┤ (checks)              │
//!   └────────────────────┘                     └───────────────────────┘
//! ```
//!
//! What can be asked is the list in `wire.rs`, the methods of [`Provider`](crate::Provider) and no more.
//! The server is treated as if somebody had taken it over: whatever names a place of the host must lie
//! within [`Bounds`], which whoever starts the keeper says before the server gives up its privileges;
//! frames and requests under way are bounded; what is no request ends the keeper. It opens no other
//! socket, reads no setting, and has neither a key nor a database: its environment is `PATH` alone.
//!
//! ```text
//!   started ──Bounds──▶ waiting ──Begin──▶ keeping ──end of the socket──▶ destroys all ──▶ ended
//!                          └─────────────────── end of the socket ────────────────────────▲
//! ```
//!
//! The keeper ends with the server, however that ends, and takes all sandboxes with it. When the keeper
//! ends first, [`Remote::lost`] resolves, every call fails, and the links live on until their holder
//! ends: a server can save what it has to save, and must end then.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    oci::RuntimeChoice,
    provider::{DiskLimit, Resources, Rootfs},
};

mod bounds;
mod launch;
mod remote;
mod serve;
mod wire;

pub use launch::{COMMAND, Kept, inherited, launch};
pub use remote::{BeginError, Remote};
pub use serve::{Keeper, KeeperError};

/// What the server may ask for. Whatever is outside is refused, and said in the keeper's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// The data directory. The server must not be able to rename or replace what the provider keeps in
    /// it; see [`OWNED`].
    pub data: PathBuf,
    /// Which runtime makes the containers.
    pub runtime: RuntimeChoice,
    /// How the disk limit is kept; `None` takes the best that this host can do.
    pub disk: Option<DiskLimit>,
    /// The root file systems that sandboxes may have.
    pub roots: Vec<Rootfs>,
    /// Directories whose files may be shown inside. Who can write to them decides what is shown.
    pub shown: Vec<PathBuf>,
    /// The most that one sandbox may be given.
    pub most: Resources,
    /// Sandboxes at one time, those that are being destroyed included.
    pub sandboxes: u32,
}

/// What the provider keeps in the data directory, and nobody else may write to.
pub const OWNED: [&str; 5] = ["sandboxes", "rootfs", "disks", "guest", "runtime"];
