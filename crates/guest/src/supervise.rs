//! The supervisor: one small process above every process that the host starts.
//!
//! Every orphan below it becomes its child (it is a subreaper), so whatever the process starts,
//! however often it forks and whichever session it moves to, stays below the supervisor and can
//! be found and killed. It reports the start and the end, forwards signals, and reaps.
//!
//! ```text
//! Running ──main process ends──▶ Leaving ──grace over──▶ Killing ──no child left──▶ exit
//!    └────── kill, or init is gone ────────────────────────▲
//! ```
//!
//! It is started as `guest supervise FD pipes|terminal PROGRAM ARGV0 [ARGUMENT]…` with the
//! control socket as descriptor 0, the process's output as 1 and 2, and its input as FD.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, close, dup2, setsid, ttyname},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    confine,
    file_wall::{self, Ring},
    procfs, sys,
};

/// How long what a process left behind may go on after its end: long enough for the last
/// commands of a pipeline to write out what they hold, short enough not to be noticed.
const LEAVING: Duration = Duration::from_millis(100);

/// How soon killing is repeated while something forks faster than it is found.
const KILL_AGAIN: Duration = Duration::from_millis(5);

/// What init and a supervisor say to each other: a kind and a number.
pub mod control {
    /// Bytes of a message.
    pub const LEN: usize = 5;
    /// To the supervisor: send this signal to the process.
    pub const SIGNAL: u8 = 1;
    /// To the supervisor: kill the process and everything below.
    pub const KILL_TREE: u8 = 2;
    /// To init: the process with this id runs.
    pub const STARTED: u8 = 3;
    /// To init: it could not be started for this error number.
    pub const FAILED: u8 = 4;
    /// To init: it exited with this code.
    pub const EXITED: u8 = 5;
    /// To init: it was killed by this signal.
    pub const KILLED: u8 = 6;

    /// Writes a message.
    pub fn encode(kind: u8, number: i32) -> [u8; LEN] {
        let [a, b, c, d] = number.to_be_bytes();
        [kind, a, b, c, d]
    }

    /// Reads a message.
    pub fn decode([kind, number @ ..]: [u8; LEN]) -> (u8, i32) {
        (kind, i32::from_be_bytes(number))
    }
}

/// The role above a process.
pub fn main(arguments: &[OsString]) -> ExitCode {
    match Supervisor::start(arguments).and_then(Supervisor::run) {
        Ok(()) => ExitCode::SUCCESS,
        // Init notices that no report came.
        Err(_) => ExitCode::FAILURE,
    }
}

/// The role between a supervisor and a process with a terminal: makes the terminal the
/// controlling one of a new session, then becomes the process.
pub fn terminal(arguments: &[OsString]) -> ExitCode {
    let become_it = || -> io::Result<io::Error> {
        setsid()?;
        // The first terminal that the leader of a new session opens is its controlling one.
        File::options()
            .read(true)
            .write(true)
            .open(ttyname(io::stdin())?)?;
        Ok(command(arguments)?.exec())
    };
    let error = become_it().unwrap_or_else(|error| error);
    eprintln!("starting the program failed: {error}");
    ExitCode::from(127)
}

fn command(arguments: &[OsString]) -> io::Result<Command> {
    let [program, argv0, rest @ ..] = arguments else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut command = Command::new(program);
    command.arg0(argv0).args(rest);
    Ok(command)
}

struct Supervisor {
    control: UnixStream,
    children: SignalFd,
    main: Pid,
    main_ended: bool,
    kill_at: Option<Instant>,
    /// Init has closed its end; nothing more to hear.
    deaf: bool,
}

impl Supervisor {
    fn start(arguments: &[OsString]) -> io::Result<Self> {
        let [input, mode, program @ ..] = arguments else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let input = input.to_str().and_then(|fd| fd.parse().ok());
        let input: i32 = input.ok_or(io::ErrorKind::InvalidInput)?;
        let mut control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        dup2(input, 0)?;
        close(input)?;

        // Before the process is made undumpable, because its own files in /proc then belong to
        // root.
        confine::volunteer_for_oom();
        file_wall::raise(Ring::Program)?;
        prctl::set_dumpable(false)?;
        prctl::set_child_subreaper(true)?;
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        setsid()?;
        // A process that signals everything it may must not end its own supervisor. Catching
        // comes first, because what is blocked here is blocked in the process too; blocking
        // follows when it runs.
        sys::catch_signals()?;
        SigSet::empty().thread_set_mask()?;
        let spawned = if mode == "terminal" {
            Command::new("/proc/self/exe")
                .arg0("guest")
                .arg("terminal")
                .args(program)
                .spawn()
        } else {
            command(program)?.process_group(0).spawn()
        };
        // A child that ended before this is found by the first `reap`.
        SigSet::all().thread_set_mask()?;
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let children = SignalFd::with_flags(&mask, flags)?;
        // Whoever reads the output must see its end when the process ends.
        let nothing = File::options().read(true).write(true).open("/dev/null")?;
        for descriptor in 0..=2 {
            dup2(nothing.as_raw_fd(), descriptor)?;
        }
        let (kind, number) = match &spawned {
            Ok(child) => (control::STARTED, child.id().cast_signed()),
            Err(error) => (
                control::FAILED,
                error.raw_os_error().unwrap_or(Errno::EINVAL as i32),
            ),
        };
        control.write_all(&control::encode(kind, number))?;
        let main = Pid::from_raw(spawned?.id().cast_signed());
        Ok(Self {
            control,
            children,
            main,
            main_ended: false,
            kill_at: None,
            deaf: false,
        })
    }

    fn run(mut self) -> io::Result<()> {
        while !self.reap() {
            if self.kill_at.is_some_and(|at| at <= Instant::now()) {
                kill_below();
                self.kill_at = Some(Instant::now() + KILL_AGAIN);
            }
            self.wait()?;
        }
        Ok(())
    }

    /// Reaps what has ended and says whether nothing is left.
    fn reap(&mut self) -> bool {
        loop {
            let (pid, kind, number) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, control::EXITED, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, control::KILLED, signal as i32),
                Ok(WaitStatus::StillAlive) => return false,
                Err(Errno::ECHILD) => return true,
                Ok(_) | Err(_) => continue,
            };
            if pid == self.main {
                self.main_ended = true;
                self.kill_at.get_or_insert_with(|| Instant::now() + LEAVING);
                // Init may be past hearing it; its closed end is noticed in `wait`.
                let _ = self.control.write_all(&control::encode(kind, number));
            }
        }
    }

    /// Waits for a child's end, for init, or until it is time to kill.
    fn wait(&mut self) -> io::Result<()> {
        let timeout = self.kill_at.map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let heard = {
            let mut sources = [
                PollFd::new(&self.children, PollFlags::IN),
                PollFd::new(&self.control, PollFlags::IN),
            ];
            let watched = if self.deaf {
                &mut sources[..1]
            } else {
                &mut sources[..]
            };
            match poll(watched, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            !self.deaf && !sources[1].revents().is_empty()
        };
        while matches!(self.children.read_signal(), Ok(Some(_))) {}
        if heard {
            self.hear();
        }
        Ok(())
    }

    fn hear(&mut self) {
        let mut message = [0; control::LEN];
        if self.control.read_exact(&mut message).is_err() {
            // Init dropped the process, which means the same as killing it.
            self.deaf = true;
            self.kill_at = Some(Instant::now());
            return;
        }
        match control::decode(message) {
            (control::SIGNAL, number) => {
                // Not reaped yet, so the id is still its own.
                if let (false, Ok(signal)) = (self.main_ended, Signal::try_from(number)) {
                    let _ = kill(self.main, signal);
                }
            }
            _ => self.kill_at = Some(Instant::now()),
        }
    }
}

/// Kills what can be seen below. A member's process that has hidden itself (it is not dumpable) is
/// found when its parent has died and it is a child.
fn kill_below() {
    let me = std::process::id().cast_signed();
    let below = procfs::descendants(me, &procfs::processes());
    for pid in below.into_iter().chain(procfs::own_children()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
