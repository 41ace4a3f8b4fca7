//! The one place with unsafe code: what no safe interface offers.
#![allow(unsafe_code)]

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Signals that the processor or the runtime raise; ignoring them would loop or hide a fault.
const FAULTS: [Signal; 5] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGTRAP,
];

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
