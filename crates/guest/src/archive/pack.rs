//! Reading files into an archive.
//!
//! Names are relative to the base, owners are left out, links are kept as links. Sockets, pipes
//! and devices are left out, as are files that vanish meanwhile; a file that changes its size is
//! cut or padded to the size it had, so that the archive stays well formed.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read, Write},
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

use protocol::{ErrorCode, Refusal};
use tar::{Builder, EntryType, Header};

use super::step;

/// Refuses what cannot be packed before anything is sent.
pub fn check(base: &Path, paths: &[String]) -> Result<(), Refusal> {
    let bad = |code, message| Err(Refusal::new(code, message));
    if !base.is_absolute() || !base.is_dir() {
        let message = format!("{} is not a directory", base.display());
        return bad(ErrorCode::BadDirectory, message);
    }
    for path in paths {
        let inside = |component| matches!(component, Component::Normal(_) | Component::CurDir);
        if !Path::new(path).components().all(inside) {
            return bad(
                ErrorCode::Confined,
                format!("{path} leaves {}", base.display()),
            );
        }
        if base.join(path).symlink_metadata().is_err() {
            return bad(
                ErrorCode::NotFound,
                format!("{path} is not in {}", base.display()),
            );
        }
    }
    Ok(())
}

/// Writes an archive of paths below a base.
pub fn pack(base: &Path, paths: &[String], to: impl Write) -> Result<(), Refusal> {
    // A path through a link is resolved once, here, and must not lead out of the base.
    let base = base
        .canonicalize()
        .map_err(|error| step("opening", base, error))?;
    let mut builder = Builder::new(to);
    for path in paths {
        let within = clean(Path::new(path));
        let parent = base.join(within.parent().unwrap_or(Path::new("")));
        let real = parent
            .canonicalize()
            .map_err(|error| step("opening", &parent, error))?;
        if !real.starts_with(&base) {
            let message = format!("{path} leads out of {}", base.display());
            return Err(Refusal::new(ErrorCode::Confined, message));
        }
        walk(&mut builder, &base, within)?;
    }
    let mut to = builder
        .into_inner()
        .map_err(|error| step("packing", &base, error))?;
    to.flush().map_err(|error| step("packing", &base, error))
}

fn clean(path: &Path) -> PathBuf {
    path.components()
        .filter(|component| matches!(component, Component::Normal(_)))
        .collect()
}

fn walk(builder: &mut Builder<impl Write>, base: &Path, from: PathBuf) -> Result<(), Refusal> {
    let mut left = vec![from];
    while let Some(within) = left.pop() {
        let path = base.join(&within);
        let Ok(metadata) = path.symlink_metadata() else {
            continue;
        };
        append(builder, &path, &within, &metadata)
            .map_err(|error| step("packing", &path, error))?;
        if metadata.is_dir() {
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(step("reading", &path, error)),
            };
            let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
            // Sorted, so that equal trees give equal archives; the last is taken first.
            names.sort_unstable_by(|a, b| b.cmp(a));
            left.extend(names.into_iter().map(|name| within.join(name)));
        }
    }
    Ok(())
}

fn append(
    builder: &mut Builder<impl Write>,
    path: &Path,
    within: &Path,
    metadata: &Metadata,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(metadata.mode() & 0o777);
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
    header.set_size(0);
    let kind = metadata.file_type();
    if kind.is_dir() {
        if within.as_os_str().is_empty() {
            return Ok(());
        }
        header.set_entry_type(EntryType::Directory);
        builder.append_data(&mut header, within, io::empty())
    } else if kind.is_symlink() {
        let Ok(target) = fs::read_link(path) else {
            return Ok(());
        };
        header.set_entry_type(EntryType::Symlink);
        builder.append_link(&mut header, within, target)
    } else if kind.is_file() {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        // The size that this very file has now, not the one that its name had a moment ago.
        let size = file.metadata()?.len();
        header.set_entry_type(EntryType::Regular);
        header.set_size(size);
        builder.append_data(&mut header, within, file.chain(io::repeat(0)).take(size))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
