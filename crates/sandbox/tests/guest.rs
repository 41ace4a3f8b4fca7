//! The real guest in a real process namespace, driven through the host's side of the link.
//!
//! `bwrap` stands in for a provider: it starts the guest as process 1 and user 1000, without
//! capabilities, with a socket as descriptor 0. A host without it skips with a printed reason.
#![allow(
    clippy::unwrap_used,
    reason = "a fixture that fails is a test that fails"
)]

#[path = "guest/archives.rs"]
mod archives;
#[path = "guest/confinement.rs"]
mod confinement;
#[path = "guest/inside.rs"]
mod inside;
#[path = "guest/life.rs"]
mod life;
#[path = "guest/ports.rs"]
mod ports;
#[path = "guest/processes.rs"]
mod processes;
#[path = "guest/speed.rs"]
mod speed;
#[path = "guest/trees.rs"]
mod trees;
