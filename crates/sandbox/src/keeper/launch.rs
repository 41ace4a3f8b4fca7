//! Starts the keeper's process. Called once by a process that still has privileges, before it gives them
//! up.

use std::{
    env, fs, io,
    io::Write,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::Path,
    process::{Child, Command, Stdio},
};

use super::{Bounds, wire};

/// The hidden subcommand of our own binary that is the keeper.
pub const COMMAND: &str = "sandbox-keeper";

/// A keeper that was started.
#[derive(Debug)]
pub struct Kept {
    /// The way to ask it, for [`Remote::begin`](super::Remote::begin). The keeper ends when this and
    /// all its copies are closed.
    pub socket: UnixStream,
    /// Its process, to be waited for at the end.
    pub process: Child,
}

/// Starts `program` as a keeper with these bounds. `arguments` follow the subcommand.
///
/// It sees nothing of our environment but `PATH`, and hears no signal of our terminal.
///
/// # Errors
/// When the process cannot be started, or does not take its bounds.
pub fn launch(program: &Path, arguments: &[&str], bounds: &Bounds) -> io::Result<Kept> {
    let first = wire::encode(bounds, &[]).map_err(io::Error::other)?;
    let (mut ours, theirs) = UnixStream::pair()?;
    let process = Command::new(program)
        .arg(COMMAND)
        .args(arguments)
        .env_clear()
        .envs(env::var_os("PATH").map(|path| ("PATH", path)))
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()?;
    ours.write_all(&first)?;
    Ok(Kept {
        socket: ours,
        process,
    })
}

/// The keeper's end of the socket, for [`Keeper::receive`](super::Keeper::receive). Its standard input is
/// nothing from then on.
///
/// # Errors
/// When standard input cannot be copied or replaced.
pub fn inherited() -> io::Result<UnixStream> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let nothing = fs::File::open("/dev/null")?;
    nix::unistd::dup2(nothing.as_raw_fd(), io::stdin().as_raw_fd())?;
    Ok(socket.into())
}
