//! What the guest takes away from itself, and so from everything it starts, before anything else.
//!
//! The runtime that started the sandbox has dropped capabilities and namespaces already; this is
//! the part that belongs to the guest because it is known only here.

use std::{fs, io};

use nix::sys::{
    prctl,
    resource::{Resource, setrlimit},
    stat::{Mode, umask},
};
use seccompiler::{apply_filter, sock_filter};

include!(concat!(env!("OUT_DIR"), "/filters.rs"));

/// Confines this process and all it will start. An error means that the sandbox must not be used.
pub fn confine() -> io::Result<()> {
    prctl::set_no_new_privs()?;
    // Nobody of the same user may look into this process or its descriptors.
    prctl::set_dumpable(false)?;
    // A core file would hold what a process had in memory, secrets of its user included.
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    umask(Mode::from_bits_truncate(0o022));
    apply_filter(&ALLOWED).map_err(io::Error::other)?;
    // Installed last, so that its EPERM goes before the other's ENOSYS.
    apply_filter(&REFUSED).map_err(io::Error::other)
}

/// Makes the kernel prefer this process and what it starts over the guest when memory runs out.
/// Where /proc is read-only the sizes alone decide, which is nearly as good.
pub fn volunteer_for_oom() {
    let _ = fs::write("/proc/self/oom_score_adj", "200");
}
