//! The HTTP surface as a client sees it: a real server with a real store in a temporary directory,
//! and a provider that makes no sandboxes. Logs of sessions are written straight into the store.

mod agents;
mod envelope;
mod environments;
mod events;
mod models;
mod sessions;
mod world;
