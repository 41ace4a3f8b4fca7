//! Both ways out against real sockets: a sandbox's end, an upstream's end, and
//! egress between them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod deciding;
mod faults;
mod forwarding;
mod keys;
mod limits;
mod proxying;
mod refusals;
mod secrecy;
mod secure;
mod support;
mod terminating;
mod transparent;
mod usage;
