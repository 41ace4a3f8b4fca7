//! Everything that knows the real `claude` CLI.
//!
//! Two halves that share nothing but the subject:
//!
//! - [`versions`]: the CLI as an artifact. Installs it from an npm registry, verifies it, keeps
//!   versions side by side and read-only, says which one a session gets.
//! - [`launch`], [`lines`], [`frame`], [`input`], [`custom`], [`tools`], [`transcript`]: the CLI as
//!   a process that speaks the Agent SDK's protocol. Pure data in and out: how to start it, what
//!   its output means, what to write to it, how to bring its conversation back.
//!
//! This crate never starts a process, never opens a socket to a model and never keeps a session's
//! state: the server starts the CLI through a sandbox and drives it with the data made here. It
//! knows none of the other crates.
//!
//! Where a module states how the CLI behaves, that was observed on version 2.1.330. The protocol
//! grows with every release, so everything read from it is tolerant: unknown types, subtypes and
//! fields are kept or skipped, never an error.

pub mod custom;
pub mod frame;
pub mod input;
pub mod launch;
pub mod lines;
pub mod tools;
pub mod transcript;
pub mod versions;
