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
use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities,
    set_thread_groups,
};
use seccompiler::{apply_filter, sock_filter};

use crate::file_wall::{self, Ring};

include!(concat!(env!("OUT_DIR"), "/filters.rs"));

/// What the guest may do where several members share the sandbox, and nothing that it starts:
/// become a member (SETUID, SETGID), end what a member started (KILL), give a member a directory
/// (CHOWN) and make one below what is a member's own (DAC_OVERRIDE). All of it counts in the
/// sandbox's user namespace only.
const KEPT: CapabilitySet = CapabilitySet::SETUID
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::DAC_OVERRIDE);

/// Confines this process and all it will start. An error means that the sandbox must not be used.
pub fn confine(members: bool) -> io::Result<()> {
    if members {
        keep_little()?;
    }
    prctl::set_no_new_privs()?;
    // Read once and kept. Before Linux 6.4 it stands in a file of `/proc`, which is closed to this
    // process itself after the next step.
    let _ = rustix::param::page_size();
    // Nobody of the same user may look into this process or its descriptors.
    prctl::set_dumpable(false)?;
    // A core file would hold what a process had in memory, secrets of its user included. Not 0: a
    // handler that is a program of the host's gets cores whatever the limit is, but for 1.
    setrlimit(Resource::RLIMIT_CORE, 1, 1)?;
    // What one member makes is nobody else's.
    umask(Mode::from_bits_truncate(if members {
        0o077
    } else {
        0o022
    }));
    file_wall::raise(Ring::Guest)?;
    apply_filter(&ALLOWED).map_err(io::Error::other)?;
    // Installed last, so that its EPERM goes before the other's ENOSYS.
    apply_filter(&REFUSED).map_err(io::Error::other)
}

/// Keeps [`KEPT`] for this program alone. The bounding set becomes empty, so no program that is
/// started gets anything, whoever starts it.
fn keep_little() -> io::Result<()> {
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // This kernel is older than the capability.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    set_thread_groups(&[])?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: KEPT,
            permitted: KEPT,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

/// Makes the kernel prefer this process and what it starts over the guest when memory runs out.
/// Where /proc is read-only the sizes alone decide, which is nearly as good.
pub fn volunteer_for_oom() {
    // More than the guest has from the runtime: less would need a privilege.
    let _ = fs::write("/proc/self/oom_score_adj", "700");
}
