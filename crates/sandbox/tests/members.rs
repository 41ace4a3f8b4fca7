//! Several sessions in one real sandbox: none can read, see or disturb another.
//!
//! The provider makes the sandbox, the embedded guest runs in it, and everything goes through the
//! host's side of the link, as in the product.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

#[path = "members/house.rs"]
mod house;
#[path = "members/isolation.rs"]
mod isolation;
#[path = "members/loopback.rs"]
mod loopback;
#[path = "members/together.rs"]
mod together;
