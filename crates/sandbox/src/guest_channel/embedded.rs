//! The guest's program, built by this crate's build script and carried inside the binary.

/// The static executable to start as process 1 of a sandbox, with the link as descriptor 0.
pub static GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest"));

/// The SHA-256 of [`GUEST`] in hexadecimal, so that a copy on disk can be named and checked.
pub static GUEST_SHA256: &str = env!("HOSTEL_GUEST_SHA256");
