//! Limits of single processes: a second wall behind the control groups, and the only one where
//! there are none. They are inherited, and nobody inside can raise one again.

use nix::sys::resource::{Resource, getrlimit, rlim_t};

use super::request::{Ids, Request};

/// One limit: what is limited, its name in an OCI configuration, and how much of it there is.
pub(super) struct Limit {
    pub resource: Resource,
    pub name: &'static str,
    pub value: rlim_t,
}

/// What a process in a sandbox may have. None is above what we have ourselves, because raising a
/// hard limit needs a privilege.
pub(super) fn of(request: &Request) -> Vec<Limit> {
    let mut wanted = vec![
        // A core file would hold what a process had in memory. Not 0: a handler that is a program of
        // the host's gets cores whatever the limit is, but for 1.
        (Resource::RLIMIT_CORE, "RLIMIT_CORE", 1),
        // claude needs about a hundred.
        (Resource::RLIMIT_NOFILE, "RLIMIT_NOFILE", 4096),
        // Memory that cannot be swapped; databases and key agents ask for a little.
        (Resource::RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK", 8 << 20),
        // Both are kept by the kernel for a user; the kernel's own default, and a sane number.
        (Resource::RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE", 819_200),
        (Resource::RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING", 4096),
        // Nobody goes before the host's own programs.
        (Resource::RLIMIT_NICE, "RLIMIT_NICE", 0),
        (Resource::RLIMIT_RTPRIO, "RLIMIT_RTPRIO", 0),
    ];
    if counts_for_one_sandbox(request.ids) {
        // One more than the control group allows: what that refuses is counted and told.
        let pids = rlim_t::from(request.limits.pids) + 1;
        wanted.push((Resource::RLIMIT_NPROC, "RLIMIT_NPROC", pids));
    }
    let limit = |(resource, name, value): (Resource, _, rlim_t)| {
        let hard = getrlimit(resource).map_or(value, |(_, hard)| hard);
        Limit {
            resource,
            name,
            value: value.min(hard),
        }
    };
    wanted.into_iter().map(limit).collect()
}

/// The kernel counts processes by user. That is this sandbox alone where its ids are its own;
/// where they are the server's, the count is the user namespace's since Linux 5.14.
fn counts_for_one_sandbox(ids: Ids) -> bool {
    match ids {
        Ids::Range(_) => true,
        Ids::Own => crate::doctor::kernel() >= (5, 14),
        Ids::Shared => false,
    }
}
