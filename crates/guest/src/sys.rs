//! The one place with unsafe code: what no safe interface offers.
#![allow(unsafe_code)]

use std::{
    ffi::CString,
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::Command,
};

use nix::{
    errno::Errno,
    libc,
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
};
use rustix::{
    process::{Gid, Uid, chdir},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use tokio::io::{Interest, unix::AsyncFd};

/// Signals that the processor or the runtime raise; ignoring them would loop or hide a fault.
const FAULTS: [Signal; 5] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGTRAP,
];

/// Who a program is started as, and where.
pub struct Identity {
    pub uid: Uid,
    pub gid: Gid,
    pub groups: Vec<Gid>,
    pub cwd: CString,
}

/// Makes a command take on an identity just before its program begins. The standard library sets
/// ids, too, but always takes all further groups away.
pub fn take_on(command: &mut Command, identity: Identity) {
    let take_on = move || {
        let (uid, gid) = (identity.uid, identity.gid);
        set_thread_groups(&identity.groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        // Takes every capability away, because none of the three ids is 0 any more.
        set_thread_res_uid(uid, uid, uid)?;
        // As the user, so that nobody begins where it could not go.
        chdir(identity.cwd.as_c_str())?;
        keep_abstract_sockets_apart()?;
        Ok(())
    };
    // SAFETY: this runs in the child between fork and exec, where only what a signal handler may
    // do is sound. These are system calls made directly, without the C library's locks; what they
    // are given was allocated before, and nothing is freed.
    unsafe { command.pre_exec(take_on) };
}

/// Lets this process and what it starts connect to abstract unix sockets of each other only: such
/// a socket has a name that all users of a network namespace can connect to, and no permissions.
/// Kernels before 6.12 cannot do it (see `docs/THREATS.md`).
fn keep_abstract_sockets_apart() -> io::Result<()> {
    /// `struct landlock_ruleset_attr`; nothing is asked of files and ports.
    #[repr(C)]
    struct Ruleset {
        files: u64,
        ports: u64,
        scoped: u64,
    }
    const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
    const NO_FLAGS: u32 = 0;

    let ruleset = Ruleset {
        files: 0,
        ports: 0,
        scoped: SCOPE_ABSTRACT_UNIX_SOCKET,
    };
    // SAFETY: the kernel reads the structure, whose layout and size are its own, during the call.
    let made = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const ruleset,
            size_of::<Ruleset>(),
            NO_FLAGS,
        )
    };
    let Ok(descriptor @ 0..) = i32::try_from(made) else {
        return match Errno::last() {
            Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::E2BIG => Ok(()),
            error => Err(error.into()),
        };
    };
    // SAFETY: the descriptor was made above and nobody else has it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // SAFETY: the call takes two numbers.
    let kept = unsafe {
        libc::syscall(
            libc::SYS_landlock_restrict_self,
            descriptor.as_raw_fd(),
            NO_FLAGS,
        )
    };
    Errno::result(kept)?;
    Ok(())
}

/// Waits for a file in the runtime's way.
pub fn watched(file: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: a `File` owns its descriptor, which stays open and the same for as long as it lives,
    // and nothing takes it out of what is given.
    let watched = unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) };
    Ok(watched?)
}

/// Makes every signal that can be caught do nothing to this process, while a program that it
/// becomes or starts gets the usual behaviour: unlike "ignored" and "blocked", "caught" is not
/// inherited over exec.
pub fn catch_signals() -> nix::Result<()> {
    extern "C" fn nothing(_: i32) {}

    let action = SigAction::new(
        SigHandler::Handler(nothing),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in Signal::iterator() {
        let kept = matches!(signal, Signal::SIGKILL | Signal::SIGSTOP | Signal::SIGCHLD);
        if kept || FAULTS.contains(&signal) {
            continue;
        }
        // SAFETY: a handler may run at any instruction, so it must only do what is safe there;
        // this one does nothing at all. No handler that other code relies on is replaced: the
        // runtime's own are for SIGSEGV and SIGBUS, which are left out.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}
