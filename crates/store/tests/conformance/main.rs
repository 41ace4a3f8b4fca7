//! What every storage engine behind `Store` must do, through its public face alone. A host that
//! cannot run a test (no root for a small file system) skips it and prints why.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

mod crash;
mod cursors;
mod disk;
mod events;
mod files;
mod fork;
mod interleave;
mod lists;
mod opening;
mod records;
mod retention;
mod session_store;
mod sessions;
mod snapshots;
mod tenants;
mod vaults;
