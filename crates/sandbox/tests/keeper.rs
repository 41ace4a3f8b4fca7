//! The provider behind its keeper: the same contract as without, and a server that was taken over and
//! says what an honest one does not.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

#[path = "oci/contract.rs"]
mod contract;
#[path = "keeper/ends.rs"]
mod ends;
#[path = "oci/resting.rs"]
mod resting;
#[path = "keeper/taken_over.rs"]
mod taken_over;
#[path = "fixtures/world.rs"]
mod world;

/// The provider is in a keeper's process.
const THROUGH_KEEPER: bool = true;
