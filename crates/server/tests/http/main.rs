//! The HTTP surface as a client sees it: a real server with a real store in a temporary directory,
//! and a provider that makes no sandboxes. Logs of sessions are written straight into the store.

#![allow(
    clippy::unwrap_used,
    reason = "the whole binary is tests, helpers included"
)]

mod agents;
mod audit;
mod edge;
mod envelope;
mod environments;
mod events;
mod files;
mod fork;
mod ids;
mod models;
mod retention;
mod routes;
mod session_store;
mod sessions;
mod tenants;
mod vaults;
mod world;
