//! The whole application under test: the real binary, the real claude CLI, real sandboxes, and the
//! scripted model. A file for each subject; the fixtures are this crate's library.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod answers;
mod api;
mod by_name;
mod canaries;
mod claude;
mod endings;
mod faults;
mod host;
mod hosting;
mod isolation;
mod limits;
mod model;
mod modes;
mod money;
mod planted;
mod readers;
mod rootless;
mod secrets;
mod separation;
mod tenants;
mod transcript;
mod upgrades;
mod vaults;
mod way_out;
