//! Trees in and out of a directory of snapshots.
#![allow(
    clippy::unwrap_used,
    reason = "a fixture that fails is a test that fails"
)]

mod damage;
mod fixture;
mod fuzz;
mod killed;
mod lines;
mod trees;
