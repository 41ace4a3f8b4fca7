//! Privilege separation: what `hostel serve` does when root starts it, before it serves anybody.
//!
//! ```text
//!   root ── takes its port, keys, and the files that are read once
//!     │  ── prepares the data directory                          data.rs
//!     ├──▶ keeper (root): makes sandboxes, and nothing else      the crate sandbox
//!     │  ── sees the data directory, whoever closed its parents  sight.rs
//!     │  ── becomes a user without capabilities                  walls.rs
//!     ▼  ── Landlock, a filter of system calls                   walls.rs, filter.rs
//!   server
//! ```
//!
//! All of it happens while the process has one thread, and there is no way back. A step that fails ends
//! the start: the server never goes on with more privileges than it says. Where there is no root there is
//! nothing to give up, and nothing happens here.

mod data;
mod filter;
mod sight;
mod user;
mod walls;

use std::path::{Path, PathBuf};
use std::process::Child;

use nix::unistd::geteuid;
use sandbox::keeper::{Kept, launch};
use server::config::Config;
use server::{Given, StartError, wire};

use crate::embedded::explain;
use crate::failure::Failure;
use crate::keeper;
use user::Choice;

/// What the start has prepared.
pub struct Apart {
    /// For the server.
    pub given: Given,
    /// To be waited for when the server has let go of it.
    pub keeper: Option<Child>,
}

/// Whether a server that is started now becomes another user than we are.
pub fn is_wanted(config: &Config) -> Result<bool, Failure> {
    Ok(geteuid().is_root() && matches!(user::choose(config)?, Choice::User(_)))
}

/// Who a server that root starts is, in words.
pub fn told(config: &Config) -> String {
    match user::choose(config) {
        Ok(Choice::Root) => "none: server.user keeps the privileges of root".to_owned(),
        Ok(Choice::User(user)) => format!(
            "the server is {user} without capabilities, with a filter of system calls and {}; \
             a keeper of its own makes sandboxes as root",
            walls::told()
        ),
        Err(failure) => format!("none, and the server does not start: {failure}"),
    }
}

/// Takes what needs privileges, starts the keeper, and gives the privileges up.
pub fn prepare(config: &mut Config) -> Result<Apart, Failure> {
    absolute(config)?;
    let mut given = Given::take(config).map_err(|error| explain(&error))?;
    if !geteuid().is_root() {
        return Ok(Apart {
            given,
            keeper: None,
        });
    }
    let user = match user::choose(config)? {
        Choice::User(user) => user,
        Choice::Root => {
            data::keep(&config.data)?;
            tracing::warn!("the server keeps the privileges of root, as server.user asks");
            return Ok(Apart {
                given,
                keeper: None,
            });
        }
    };
    config.data = data::give(&config.data, &user)?;
    if let Some(file) = audit_file(config) {
        data::give_file(file, &user)?;
    }
    let Kept { socket, process } = start_keeper(config)?;
    given.keeper = Some(socket);
    sight::open(&config.data, &user)?;
    walls::become_user(&user)?;
    walls::around_files(config)?;
    filter::apply()?;
    tracing::info!(
        user.id = user.uid.as_raw(),
        keeper.pid = process.id(),
        "the server is {user} without capabilities, and process {} keeps its sandboxes",
        process.id()
    );
    Ok(Apart {
        given,
        keeper: Some(process),
    })
}

fn start_keeper(config: &Config) -> Result<Kept, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::caused("cannot start the keeper", error);
    let bounds = wire::bounds(config, config.data.clone());
    let bounds = bounds.map_err(|error| explain(&StartError::Wire(error)))?;
    let program = std::env::current_exe().map_err(|error| failed(&error))?;
    launch(&program, &keeper::arguments(&config.log), &bounds).map_err(|error| failed(&error))
}

/// The file of the audit, unless that is standard output.
fn audit_file(config: &Config) -> Option<&Path> {
    let file = config.audit.file.as_deref();
    file.filter(|path| *path != Path::new("-"))
}

/// Makes paths of the settings independent of the directory that the process was started in.
fn absolute(config: &mut Config) -> Result<(), Failure> {
    let is_path = config.sandbox.rootfs != "host";
    let mut root = PathBuf::from(&config.sandbox.rootfs);
    let optional = [
        &mut config.tls.cert_file,
        &mut config.tls.key_file,
        &mut config.snapshot_key_file,
        &mut config.prices.file,
        &mut config.egress.authorities_file,
    ];
    let mut paths: Vec<&mut PathBuf> = optional.into_iter().flatten().collect();
    paths.push(&mut config.data);
    let dash = Path::new("-");
    paths.extend(config.audit.file.as_mut().filter(|path| *path != dash));
    paths.extend(is_path.then_some(&mut root));
    for path in paths {
        *path = std::path::absolute(&*path)
            .map_err(|error| Failure::caused("cannot find the working directory", &error))?;
    }
    if let (true, Some(root)) = (is_path, root.to_str()) {
        config.sandbox.rootfs = root.to_owned();
    }
    Ok(())
}
