//! Starting a process: checks that give clear answers, then the supervisor.

use std::{
    io::{self, PipeReader, PipeWriter},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::{fs::PermissionsExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    pty::{Winsize, openpty},
};
use protocol::{ErrorCode, ProcessSpec, Refusal, User, WindowSize};
use tokio::{io::AsyncReadExt as _, net::UnixStream, sync::oneshot, time::timeout};

use super::source::{self, Sink, Source, Terminal};
use crate::{
    identity,
    reaper::{Reaper, Supervisor},
    supervise::control,
};

/// Where programs are looked up when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// How long a start may take; far more than on the busiest machine, and less than the host waits.
const START_TIMEOUT: Duration = Duration::from_secs(8);

/// Capacity of the pipes for output. The default of 64 KiB makes a busy process wait for each
/// round through the link; the kernel takes memory only for what is in the pipe.
const PIPE_CAPACITY: usize = 256 * 1024;

/// A process that runs, seen from init.
pub struct Launched {
    pub pid: u32,
    /// To its supervisor; dropping it kills everything.
    pub control: UnixStream,
    pub stdin: Sink,
    pub stdout: Source,
    /// None with a terminal.
    pub stderr: Option<Source>,
    pub terminal: Option<Terminal>,
    /// Resolves when the supervisor has ended, and so everything below it.
    pub gone: oneshot::Receiver<()>,
    pub supervisor: Supervisor,
}

/// Starts a process under a supervisor, and waits until it runs.
pub async fn launch(reaper: &Reaper, spec: ProcessSpec) -> Result<Launched, Refusal> {
    let program = find_as_user(&spec)?;
    let cannot = |error: io::Error| {
        let code = match error.kind() {
            io::ErrorKind::PermissionDenied => ErrorCode::NotExecutable,
            _ => ErrorCode::Failed,
        };
        Refusal::new(code, format!("starting {}: {error}", program.display()))
    };
    let (ours, theirs) = ends(spec.terminal).map_err(cannot)?;
    if let Some(user) = &spec.user {
        theirs.give(user).map_err(cannot)?;
    }
    let (control, supervisors) = std::os::unix::net::UnixStream::pair().map_err(cannot)?;
    control.set_nonblocking(true).map_err(cannot)?;
    let mut control = UnixStream::from_std(control).map_err(cannot)?;

    // The one descriptor that a supervisor inherits besides 0, 1 and 2. Nothing else is started
    // between here and the end of `spawn`: this thread is the only one that starts processes.
    fcntl(theirs.stdin.as_raw_fd(), FcntlArg::F_SETFD(FdFlag::empty()))
        .map_err(|error| cannot(error.into()))?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("guest")
        .arg("supervise")
        .arg(theirs.stdin.as_raw_fd().to_string())
        .arg(if spec.terminal.is_some() {
            "terminal"
        } else {
            "pipes"
        })
        .arg(&program)
        .args(&spec.argv)
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::from(OwnedFd::from(supervisors)))
        .stdout(theirs.stdout)
        .stderr(theirs.stderr);
    match &spec.user {
        None => drop(command.current_dir(&spec.cwd)),
        Some(user) => identity::start_as(&mut command, user, &spec.cwd).map_err(cannot)?,
    }
    let supervisor = command.spawn().map_err(cannot)?;
    // It holds the other ends of everything; with them open here, no end would be noticed.
    drop(command);
    let (supervisor, gone) = reaper.expect(supervisor.id());
    drop(theirs.stdin);

    let mut report = [0; control::LEN];
    match timeout(START_TIMEOUT, control.read_exact(&mut report)).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) => return Err(cannot(io::Error::other("it was killed while it started"))),
        Err(_) => {
            // Stopped, most likely by what it had just started; the reaper sweeps that too.
            reaper.kill(&supervisor);
            return Err(cannot(io::ErrorKind::TimedOut.into()));
        }
    }
    match control::decode(report) {
        // It is the member's own process that reports, and the host will act on the number.
        (control::STARTED, pid) if spec.user.is_some() && !supervisor.may_have_started(pid) => {
            reaper.kill(&supervisor);
            Err(cannot(io::Error::other("another process was reported")))
        }
        (control::STARTED, pid) => Ok(Launched {
            pid: pid.cast_unsigned(),
            control,
            stdin: ours.stdin,
            stdout: ours.stdout,
            stderr: ours.stderr,
            terminal: ours.terminal,
            gone,
            supervisor,
        }),
        (_, number) => Err(cannot(io::Error::from_raw_os_error(number))),
    }
}

/// Checks as whoever the process belongs to, so that nobody learns what it could not see.
fn find_as_user(spec: &ProcessSpec) -> Result<PathBuf, Refusal> {
    identity::as_user(spec.user.as_ref(), || check(spec)).unwrap_or_else(|error| {
        let message = format!("acting as the user: {error}");
        Err(Refusal::new(ErrorCode::Failed, message))
    })
}

/// Checks everything that would otherwise fail late or unclearly, and finds the program.
fn check(spec: &ProcessSpec) -> Result<PathBuf, Refusal> {
    let bad = |message: &str| Err(Refusal::new(ErrorCode::BadRequest, message));
    let Some(program) = spec.argv.first().filter(|program| !program.is_empty()) else {
        return bad("argv names no program");
    };
    if spec.argv.iter().any(|argument| argument.contains('\0')) {
        return bad("an argument holds a zero byte");
    }
    for (name, value) in &spec.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(Refusal::new(
                ErrorCode::BadRequest,
                format!("{name:?} cannot be the name of an environment variable"),
            ));
        }
        if value.contains('\0') {
            return Err(Refusal::new(
                ErrorCode::BadRequest,
                format!("the value of environment variable {name} holds a zero byte"),
            ));
        }
    }
    let cwd = Path::new(&spec.cwd);
    if !cwd.is_absolute() || !cwd.is_dir() {
        let message = format!("working directory {} is not a directory", cwd.display());
        return Err(Refusal::new(ErrorCode::BadDirectory, message));
    }
    let path = spec.env.iter().rev().find(|(name, _)| name == "PATH");
    find(program, cwd, path.map_or(DEFAULT_PATH, |(_, path)| path))
}

/// Finds a program as a shell does.
fn find(program: &str, cwd: &Path, path: &str) -> Result<PathBuf, Refusal> {
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![cwd.join(program)]
    } else {
        path.split(':')
            .map(|directory| cwd.join(directory).join(program))
            .collect()
    };
    if let Some(found) = candidates.iter().find(|candidate| executable(candidate)) {
        return Ok(found.clone());
    }
    match candidates.iter().find(|candidate| candidate.exists()) {
        Some(found) => Err(Refusal::new(
            ErrorCode::NotExecutable,
            format!("{} is not executable", found.display()),
        )),
        None if program.contains('/') => Err(Refusal::new(
            ErrorCode::NotFound,
            format!("{program} is not there"),
        )),
        None => Err(Refusal::new(
            ErrorCode::NotFound,
            format!("{program} is in no directory of PATH {path}"),
        )),
    }
}

fn executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

struct Ours {
    stdin: Sink,
    stdout: Source,
    stderr: Option<Source>,
    terminal: Option<Terminal>,
}

struct Theirs {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Theirs {
    /// Lets the user open them again by name (`/dev/stderr`, the name of the terminal).
    fn give(&self, user: &User) -> io::Result<()> {
        for end in [&self.stdin, &self.stdout, &self.stderr] {
            rustix::fs::fchown(end, Some(rustix::fs::Uid::from_raw(user.uid)), None)?;
        }
        Ok(())
    }
}

fn ends(terminal: Option<WindowSize>) -> io::Result<(Ours, Theirs)> {
    let Some(size) = terminal else { return pipes() };
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.cols,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = openpty(Some(&size), None)?;
    for end in [&pty.master, &pty.slave] {
        fcntl(end.as_raw_fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    let theirs = Theirs {
        stdin: pty.slave.as_fd().try_clone_to_owned()?,
        stdout: pty.slave.as_fd().try_clone_to_owned()?,
        stderr: pty.slave,
    };
    let (stdin, stdout, terminal) = source::terminal(pty.master)?;
    let ours = Ours {
        stdin,
        stdout,
        stderr: None,
        terminal: Some(terminal),
    };
    Ok((ours, theirs))
}

fn pipes() -> io::Result<(Ours, Theirs)> {
    let (stdin_reader, stdin_writer) = io::pipe()?;
    let (stdout_reader, stdout_writer) = output_pipe()?;
    let (stderr_reader, stderr_writer) = output_pipe()?;
    let ours = Ours {
        stdin: Sink::pipe(stdin_writer.into())?,
        stdout: Source::pipe(stdout_reader.into())?,
        stderr: Some(Source::pipe(stderr_reader.into())?),
        terminal: None,
    };
    let theirs = Theirs {
        stdin: stdin_reader.into(),
        stdout: stdout_writer.into(),
        stderr: stderr_writer.into(),
    };
    Ok((ours, theirs))
}

fn output_pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    // The user's share of pipe memory may be used up; a smaller pipe is only slower.
    let _ = rustix::pipe::fcntl_setpipe_size(&reader, PIPE_CAPACITY);
    Ok((reader, writer))
}
