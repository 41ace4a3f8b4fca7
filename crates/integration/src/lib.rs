//! Fixtures for tests of the whole application: the real binary, the real claude CLI, real sandboxes
//! and the scripted model, driven over HTTP as a client would.
//!
//! ```text
//!   test ──▶ World ──▶ Server (a `hostel serve` process, its data directory, its log)
//!              │         ▲ HTTP
//!              ├──▶ Session (sends; a Watch reads its stream, through restarts, from the first event)
//!              ├──▶ Sandbox, Process (what runs, found from outside; to be killed)
//!              └──▶ Model (in this process: what was asked of it can be read)
//! ```
//!
//! Every world is a test's own. [`World::end`] stops it and checks what must hold whatever the test
//! did: the stream was the log, byte for byte; every acknowledged event is in the log once and in
//! order; no message reached the model twice; nothing is left on the machine.
//!
//! Nothing here waits for a time: everything waits for a state, with [`PATIENCE`] as its bound.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

pub mod canaries;
pub mod chance;
pub mod cli;
pub mod client;
pub mod disk;
pub mod leftovers;
pub mod process;
#[cfg(target_arch = "x86_64")]
pub mod puppet;
pub mod server;
pub mod session;
pub mod setup;
pub mod sse;
pub mod wait;
pub mod watch;
pub mod world;

pub use canaries::Canaries;
pub use cli::Cli;
pub use client::{Answer, Client};
pub use process::{Process, Sandbox};
pub use session::{Agent, Session};
pub use setup::{MODEL_KEY, Setup, skip};
pub use wait::{PATIENCE, until};
pub use watch::{Events, Watch};
pub use world::World;
