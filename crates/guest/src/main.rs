//! The program inside the sandbox: process 1, which starts processes and carries their standard
//! streams, ports, archives and statistics over the link to the host.
//!
//! It is one executable with three roles, told apart by its first argument:
//!
//! ```text
//! guest [members]    init: process 1; the link is descriptor 0
//! guest supervise …  above every process: reaps and kills what it leaves behind
//! guest terminal …   between a supervisor and a process with a terminal, for one moment
//! ```
//!
//! It holds no secret, writes no log, and never outlives the link: when the host's end closes,
//! it exits, and the kernel ends everything else in the process namespace with it.

mod archive;
mod confine;
mod file_wall;
#[cfg(test)]
mod fuzz;
mod identity;
mod init;
mod make_dir;
mod owner;
mod port;
mod process;
mod procfs;
mod reaper;
mod remove_dir;
mod serve;
mod stats;
mod strays;
mod supervise;
mod sys;
mod transparent;
mod tree;
mod wire;

use std::{ffi::OsString, process::ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let role = arguments.next();
    let rest: Vec<OsString> = arguments.collect();
    match role.as_ref().and_then(|role| role.to_str()) {
        None => init::main(false),
        Some("members") => init::main(true),
        Some("supervise") => supervise::main(&rest),
        Some("terminal") => supervise::terminal(&rest),
        Some(_) => {
            eprintln!("guest: this program is started by hostel and takes no arguments");
            ExitCode::from(2)
        }
    }
}
