//! What egress knows of TLS: how a client's first message is read, the authority that signs for hosts
//! inside one sandbox, and whom egress trusts outside.
//!
//! Never offers less than TLS 1.2, never takes a certificate that does not verify, and never lets the
//! key of an authority out of this process.

mod authority;
mod hello;
mod java;
mod trust;

pub use authority::{Authority, AuthorityError};
pub(crate) use hello::{Hello, Peeked, peek};
pub(crate) use trust::Trust;

/// The protocols that a terminated connection may speak, the preferred one first.
pub(crate) const H2: &[u8] = b"h2";
pub(crate) const H1: &[u8] = b"http/1.1";
