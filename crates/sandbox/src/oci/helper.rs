//! The helper: a process of our own binary that makes one container and ends.
//!
//! It is single-threaded, because the embedded runtime forks and changes its working
//! directory in-process. Its standard input is the guest's end of the link and its standard
//! error the guest's log: the container inherits both. Its standard output carries the one
//! line of answer and is never inherited; in its place the container finds the device by which the
//! guest sees what is sent elsewhere (`network.rs`), or the log again.

use std::{
    error::Error,
    ffi::OsString,
    fs,
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Command, ExitCode},
};

use libcontainer::{
    container::builder::ContainerBuilder, notify_socket::NotifySocket,
    syscall::syscall::SyscallType,
};
use nix::{
    sched::{CloneFlags, unshare},
    unistd::{dup2, getegid},
};
use serde_json::Value;

use super::{
    bare, bundle, network, process,
    request::{Answer, Made, Maker, Request},
    stage::{Stage, hide_cgroups, hide_unified},
};

/// Any failure: the answer carries its text, and the server adds what was being made.
type Failure = Box<dyn Error>;

/// Makes one container and exits: what [`super::HELPER_COMMAND`] runs. `arguments` are those
/// after the subcommand. Must be called while the process has one thread.
pub fn helper_main(arguments: &[OsString]) -> ExitCode {
    if let [role, rest @ ..] = arguments
        && role == bare::ROLE
    {
        return bare::inside(rest);
    }
    match serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sandbox helper: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &[OsString]) -> Result<(), Failure> {
    let [path] = arguments else {
        return Err("this is started by the server, with the path of a request".into());
    };
    let mut answers = keep_standard_output()?;
    let answer = match make(Path::new(path)) {
        Ok(made) => Answer::Made(made),
        Err(error) => Answer::Failed {
            reason: chain(error.as_ref()),
        },
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    answers.write_all(&line)?;
    Ok(())
}

/// Moves standard output to a descriptor that no program inherits; what is printed from here
/// on goes where errors go.
fn keep_standard_output() -> io::Result<File> {
    let answers: OwnedFd = io::stdout().as_fd().try_clone_to_owned()?;
    dup2(2, 1)?;
    Ok(answers.into())
}

fn make(path: &Path) -> Result<Made, Failure> {
    let request: Request = serde_json::from_slice(&fs::read(path)?)?;
    let stage = Stage::build(&request)?;
    if !request.maker.own_kernel() {
        leave_clocks();
        if let Some(nowhere) = network::make(&request)? {
            // The one descriptor besides 0 and 2 that every runtime hands on.
            dup2(nowhere.as_raw_fd(), 1)?;
        }
    }
    let pid = match &request.maker {
        Maker::Embedded => embedded(&request, &stage)?,
        Maker::Process => {
            enter_all(&request)?;
            bare::make(&request, &stage, path)?
        }
        Maker::Program { .. } => program(&request, &stage)?,
    };
    Ok(Made {
        pid,
        started: process::started(pid)?,
    })
}

/// Gives whatever is started from here on clocks of its own. A kernel without time namespaces says
/// no, which the server has told by then.
fn leave_clocks() {
    let _ = unshare(CloneFlags::from_bits_retain(nix::libc::CLONE_NEWTIME));
}

fn embedded(request: &Request, stage: &Stage) -> Result<i32, Failure> {
    enter_all(request)?;
    hide_cgroups()?;
    write_config(stage, &bundle::config(request, stage, false))?;
    let container = ContainerBuilder::new(request.id.clone(), SyscallType::default())
        .with_root_path(stage.state.clone())?
        .validate_id()?
        .as_init(&stage.bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()?;
    let pid = container
        .pid()
        .ok_or("the runtime names no process")?
        .as_raw();
    // Not `Container::start`, which reads back what we have just written.
    NotifySocket::new(stage.state.join(&request.id).join("notify.sock"))
        .notify_container_start()?;
    Ok(pid)
}

fn enter_all(request: &Request) -> io::Result<()> {
    request.cgroups.iter().try_for_each(|group| enter(group))
}

/// Enters a control group. A single thread that moves itself by version 1's `tasks` is spared
/// the kernel's lock over all forks, which costs one RCU grace period: up to ten milliseconds.
fn enter(group: &Path) -> io::Result<()> {
    let tasks = group.join("tasks");
    let file = if tasks.exists() {
        tasks
    } else {
        group.join("cgroup.procs")
    };
    fs::write(file, "0")
}

fn program(request: &Request, stage: &Stage) -> Result<i32, Failure> {
    let Maker::Program {
        path,
        state,
        options,
        hide_unified: hide,
        ..
    } = &request.maker
    else {
        return Err("not a program of the host".into());
    };
    if *hide {
        hide_unified();
    }
    write_config(stage, &bundle::config(request, stage, true))?;
    let pid_file = stage.bundle.join("pid");
    // The container inherits standard input and error, which are the link and the log.
    let status = Command::new(path)
        .arg("--root")
        .arg(state)
        .args(options)
        .args(["run", "--detach", "--pid-file"])
        .arg(&pid_file)
        .arg("--bundle")
        .arg(&stage.bundle)
        .arg(&request.id)
        // See `bare.rs` for why a group is named.
        .gid(getegid().as_raw())
        .status()?;
    if !status.success() {
        return Err(format!("{} ended with {status}", path.display()).into());
    }
    Ok(fs::read_to_string(&pid_file)?.trim().parse()?)
}

fn write_config(stage: &Stage, config: &Value) -> io::Result<()> {
    fs::write(stage.bundle.join("config.json"), config.to_string())
}

/// An error with all its causes, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
