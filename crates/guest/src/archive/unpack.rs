//! Writing an archive below a directory, and nowhere else.
//!
//! Every directory on the way is opened by its parent's descriptor and without following
//! symbolic links, so no entry and no process that races with us can lead a write outside. Links
//! themselves are kept with whatever they point to, because nothing here ever follows them.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    path::{Component, Path},
};

use protocol::{ErrorCode, Refusal};
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, Mode, OFlags, Timespec, Timestamps},
    io::Errno,
};
use tar::{Archive, Entry, EntryType};

use super::step;

const DIRECTORY: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Permission bits that survive: never setuid, setgid or sticky.
const MODE_MASK: u32 = 0o777;

/// Writes all entries of a tar stream below a directory, which is made when it is missing.
pub fn unpack(dir: &Path, tar: impl Read) -> Result<(), Refusal> {
    if !dir.is_absolute() {
        let message = format!("{} is not an absolute directory", dir.display());
        return Err(Refusal::new(ErrorCode::BadDirectory, message));
    }
    let bad = |error: io::Error| {
        Refusal::new(
            ErrorCode::BadDirectory,
            format!("opening {}: {error}", dir.display()),
        )
    };
    fs::create_dir_all(dir).map_err(bad)?;
    // The directory itself is the host's choice and may be reached by a link.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(dir, flags, Mode::empty()).map_err(|error| bad(error.into()))?;
    let mut tree = Tree {
        root,
        open: Vec::new(),
    };
    let reading = |error: io::Error| step("reading the archive for", dir, error);
    for entry in Archive::new(tar).entries().map_err(reading)? {
        tree.write(&mut entry.map_err(reading)?)?;
    }
    Ok(())
}

/// The directory, and the chain of directories below it that the last entry was in.
struct Tree {
    root: OwnedFd,
    open: Vec<(OsString, OwnedFd)>,
}

impl Tree {
    fn write(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<(), Refusal> {
        let path = entry
            .path()
            .map_err(|_| confined("an entry's name is malformed"))?
            .into_owned();
        let mut parts = parts(&path)?;
        let Some(name) = parts.pop() else {
            return Ok(());
        };
        let kind = entry.header().entry_type();
        let fail = |error: io::Error| step("writing", &path, error);
        match kind {
            EntryType::XGlobalHeader => Ok(()),
            EntryType::Directory => {
                let parent = self.directory(&parts, &path)?;
                directory(parent, &name, mode(entry, 0o755) | 0o700).map_err(fail)
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let parent = self.directory(&parts, &path)?;
                file(parent, &name, entry).map_err(fail)
            }
            EntryType::Symlink => {
                let target = target(entry)?;
                let parent = self.directory(&parts, &path)?;
                replace(parent, &name, || {
                    rustix::fs::symlinkat(&target, parent, &name)
                })
                .map_err(fail)
            }
            EntryType::Link => {
                let target = target(entry)?;
                let mut target_parts = self::parts(&target)?;
                let Some(target_name) = target_parts.pop() else {
                    return Err(confined(&format!("{} links to nothing", path.display())));
                };
                let from = self
                    .directory(&target_parts, &target)?
                    .try_clone()
                    .map_err(fail)?;
                let parent = self.directory(&parts, &path)?;
                replace(parent, &name, || {
                    rustix::fs::linkat(&from, &target_name, parent, &name, AtFlags::empty())
                })
                .map_err(fail)
            }
            _ => Err(confined(&format!(
                "{} is a device, a pipe or of another kind that is not unpacked",
                path.display()
            ))),
        }
    }

    /// Opens a directory below the root, making what is missing. What the last entry opened is
    /// kept, because entries come sorted.
    fn directory(&mut self, parts: &[OsString], path: &Path) -> Result<&OwnedFd, Refusal> {
        let common = self
            .open
            .iter()
            .zip(parts)
            .take_while(|((open, _), part)| open == *part)
            .count();
        self.open.truncate(common);
        for part in &parts[common..] {
            let parent = self.open.last().map_or(&self.root, |(_, parent)| parent);
            let opened = match rustix::fs::openat(parent, part, DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT) => rustix::fs::mkdirat(parent, part, Mode::from(0o755))
                    .and_then(|()| rustix::fs::openat(parent, part, DIRECTORY, Mode::empty())),
                opened => opened,
            };
            let opened = opened.map_err(|error| match error {
                Errno::NOTDIR | Errno::LOOP => confined(&format!(
                    "{} passes through {part:?}, which is not a directory",
                    path.display()
                )),
                error => step("opening the directory of", path, error),
            })?;
            self.open.push((part.clone(), opened));
        }
        Ok(self
            .open
            .last()
            .map_or(&self.root, |(_, directory)| directory))
    }
}

/// The names on a path; refuses what leads upwards or starts elsewhere.
fn parts(path: &Path) -> Result<Vec<OsString>, Refusal> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_owned()),
            Component::CurDir => {}
            _ => {
                return Err(confined(&format!(
                    "{} leaves the directory",
                    path.display()
                )));
            }
        }
    }
    Ok(parts)
}

fn directory(parent: &OwnedFd, name: &OsString, mode: u32) -> io::Result<()> {
    let mode = Mode::from(mode);
    match rustix::fs::mkdirat(parent, name, mode) {
        Err(Errno::EXIST) => {}
        made => return Ok(made?),
    }
    // What is there stays when it is a directory; a link to one is replaced, not followed.
    if rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()).is_ok() {
        return Ok(());
    }
    rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
    Ok(rustix::fs::mkdirat(parent, name, mode)?)
}

fn file(parent: &OwnedFd, name: &OsString, entry: &mut Entry<'_, impl Read>) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = None;
    replace(parent, name, || {
        file = Some(rustix::fs::openat(parent, name, flags, Mode::from(0o600))?);
        Ok(())
    })?;
    let mut file = File::from(file.ok_or(io::ErrorKind::NotFound)?);
    io::copy(entry, &mut file)?;
    rustix::fs::fchmod(&file, Mode::from(mode(entry, 0o644)))?;
    if let Ok(seconds) = entry.header().mtime() {
        let time = Timespec {
            tv_sec: seconds.cast_signed(),
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        // A date that the file system cannot hold is no reason to lose the file.
        let _ = rustix::fs::futimens(&file, &times);
    }
    Ok(())
}

/// Makes something in place of what is there, which is removed and never followed.
fn replace(
    parent: &OwnedFd,
    name: &OsString,
    mut make: impl FnMut() -> rustix::io::Result<()>,
) -> io::Result<()> {
    match make() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            Ok(make()?)
        }
        made => Ok(made?),
    }
}

fn mode(entry: &Entry<'_, impl Read>, default: u32) -> u32 {
    entry.header().mode().unwrap_or(default) & MODE_MASK
}

fn target(entry: &Entry<'_, impl Read>) -> Result<std::path::PathBuf, Refusal> {
    match entry.link_name() {
        Ok(Some(target)) => Ok(target.into_owned()),
        _ => Err(confined("a link has no target")),
    }
}

fn confined(message: &str) -> Refusal {
    Refusal::new(ErrorCode::Confined, message)
}

#[cfg(test)]
mod tests;
