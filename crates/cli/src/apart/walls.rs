//! What the server takes away from itself: its user, its capabilities, the files that it has no business
//! with.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
};
use server::config::Config;

use super::user::User;
use crate::failure::Failure;

/// The last version of Landlock that brought what is used here.
const VERSION: ABI = ABI::V6;

/// What is read anywhere on the machine: libraries and settings of name resolution, which are loaded at the
/// first name, authorities, time zones, the number of processors. Permissions still hold, so nothing that
/// is root's alone is among it.
const READ: [&str; 14] = [
    "/usr",
    "/lib",
    "/lib64",
    "/nix/store",
    "/etc",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/nscd",
    "/var/lib/ca-certificates",
    "/proc/self",
    "/proc/sys/net",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
];

/// Devices that hold nothing.
const DEVICES: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

/// Variables that name authorities to trust.
const TRUST: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Becomes the user, without capabilities and without a way to any.
pub fn become_user(user: &User) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::caused(format!("cannot become {user}"), error)
            .next("set server.user to a user that exists here, or to root to keep all privileges")
    };
    // Ids and capabilities belong to threads: another one would keep them.
    if threads().map_err(|error| failed(&error))? != 1 {
        return Err(Failure::new(
            "cannot give up privileges beside another thread",
        ));
    }
    take_capabilities().map_err(|error| failed(&error))?;
    setgroups(&user.groups)
        .and_then(|()| setresgid(user.gid, user.gid, user.gid))
        .and_then(|()| setresuid(user.uid, user.uid, user.uid))
        .and_then(|()| prctl::set_no_new_privs())
        // Nobody of the same user looks into this process, and no core is written: secrets are in it.
        .and_then(|()| prctl::set_dumpable(false))
        // Not 0: a handler that is a program of the host's gets cores whatever the limit is, but for 1.
        .and_then(|()| setrlimit(Resource::RLIMIT_CORE, 1, 1))
        .map_err(|error| failed(&error))?;
    let left = capabilities(None).map_err(|error| failed(&error))?;
    if !(left.effective | left.permitted | left.inheritable).is_empty() {
        return Err(Failure::new("capabilities are left after giving them up"));
    }
    std::env::set_current_dir("/").map_err(|error| failed(&error))
}

fn take_capabilities() -> rustix::io::Result<()> {
    clear_ambient_capability_set()?;
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            // This kernel is older than the capability.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn threads() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

/// Leaves the server the files it needs: to read what [`READ`] and the settings name, to write in its data
/// directory and to its audit.
pub fn around_files(config: &Config) -> Result<(), Failure> {
    let raised = raise(config);
    let status = raised.map_err(|error| Failure::caused("cannot close off files", &error))?;
    if status.ruleset != RulesetStatus::FullyEnforced {
        tracing::warn!(
            "files are kept from the server by permissions{}: this kernel lacks Landlock, or parts of it",
            match status.ruleset {
                RulesetStatus::NotEnforced => " alone",
                _ => " and a part of Landlock",
            }
        );
    }
    Ok(())
}

fn raise(config: &Config) -> Result<RestrictionStatus, RulesetError> {
    let all = AccessFs::from_all(VERSION);
    let audit = config.audit.file.iter();
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        // Signals, and sockets without a path, of other processes.
        .scope(Scope::Signal | Scope::AbstractUnixSocket)?
        .create()?
        .add_rules(path_beneath_rules(READ, reading()))?
        .add_rules(path_beneath_rules(named(config), reading()))?
        .add_rules(path_beneath_rules(DEVICES, reading() | AccessFs::WriteFile))?
        .add_rules(path_beneath_rules(
            audit,
            BitFlags::from(AccessFs::WriteFile),
        ))?
        .add_rules(path_beneath_rules([&config.data], keeping()))?
        .restrict_self()
}

/// What settings and variables name. A certificate is replaced by a rename, so its directory counts.
fn named(config: &Config) -> Vec<PathBuf> {
    let tls = [&config.tls.cert_file, &config.tls.key_file];
    let tls = tls.into_iter().flatten().filter_map(|file| file.parent());
    let trust = TRUST.iter().filter_map(std::env::var_os);
    let trust = trust.flat_map(|value| std::env::split_paths(&value).collect::<Vec<_>>());
    tls.map(Path::to_owned).chain(trust).collect()
}

fn reading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// Everything but programs, devices, pipes and sockets.
fn keeping() -> BitFlags<AccessFs> {
    let others = AccessFs::Execute
        | AccessFs::MakeChar
        | AccessFs::MakeBlock
        | AccessFs::MakeFifo
        | AccessFs::MakeSock
        | AccessFs::MakeSym
        | AccessFs::IoctlDev;
    AccessFs::from_all(VERSION) & !others
}

/// How far files are closed off on this host, in words.
pub fn told() -> &'static str {
    match sandbox::doctor::landlock() {
        0 => "no Landlock, which this kernel lacks",
        _ => "Landlock",
    }
}
