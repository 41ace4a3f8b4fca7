//! The second wall around files: Landlock.
//!
//! The first is the tree that the provider built: mounts that are read-only, and places that are
//! not. This one says the same again, of the processes instead of the mounts, so that a mount that
//! came out wrong or was changed behind our back opens nothing. Two rings of it stand inside each
//! other: one around the guest, and a narrower one around each process that the host starts, which
//! also keeps that process from tracing the guest or its neighbours.
//!
//! A kernel without Landlock has the first wall alone, which the provider tells; one that knows a
//! part of it keeps this part. It is never raised by anything but what stands here.

use std::io;

use landlock::{
    ABI, Access, AccessFs, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, path_beneath_rules,
};

/// The places that are written to, whoever is in the sandbox. What is not there is left out.
const WRITABLE: [&str; 5] = ["/workspace", "/tmp", "/home", "/mnt/session", "/dev/shm"];

/// The last version of Landlock that brought new rights over files.
const VERSION: ABI = ABI::V5;

/// Whom the wall is around.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ring {
    /// The guest, which may write to `/proc` to make itself and its supervisors less worth keeping.
    Guest,
    /// What the guest starts.
    Program,
}

/// Raises it around this thread and all that it starts. It never comes down.
pub fn raise(ring: Ring) -> io::Result<()> {
    let all = AccessFs::from_all(VERSION);
    let rules = Ruleset::default()
        .handle_access(all)
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?
        .add_rules(path_beneath_rules(["/"], AccessFs::from_read(VERSION)))
        .and_then(|rules| rules.add_rules(path_beneath_rules(WRITABLE, in_writable())))
        .and_then(|rules| rules.add_rules(path_beneath_rules(["/dev"], on_devices())))
        .map_err(io::Error::other)?;
    let rules = match ring {
        Ring::Guest => rules
            .add_rules(path_beneath_rules(["/proc"], on_settings()))
            .map_err(io::Error::other)?,
        Ring::Program => rules,
    };
    rules.restrict_self().map_err(io::Error::other)?;
    Ok(())
}

/// Everything but making devices.
fn in_writable() -> BitFlags<AccessFs> {
    AccessFs::from_all(VERSION) & !(AccessFs::MakeChar | AccessFs::MakeBlock)
}

/// Writing to what is there.
fn on_settings() -> BitFlags<AccessFs> {
    AccessFs::WriteFile | AccessFs::Truncate
}

/// Using the devices and terminals that are there.
fn on_devices() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev
}
