//! Disk images: a sparse file with an empty ext4 inside, copied from a template.
//!
//! Making a file system takes twenty milliseconds, copying the few blocks that an empty one
//! consists of takes one. So there is one template for each size.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
};

use nix::{
    fcntl::copy_file_range,
    unistd::{Whence, lseek64},
};

use super::{request::WRITABLE, runtime};

/// The smallest disk: below, ext4's own needs dwarf what a user gets.
pub(super) const SMALLEST: u64 = 16 << 20;

const BLOCK: u64 = 4096;
/// Ext4 keeps two in a hundred blocks, at most 4096 of them, for its own emergencies.
const KEPT_AT_MOST: u64 = 4096;
/// One inode for each 16 KiB, as `mkfs` does by itself.
const BYTES_PER_INODE: u64 = 16 << 10;
/// The first guess for the room that inode tables and bitmaps take, in bytes per inode.
const BYTES_FOR_INODE: u64 = 272;

/// Why there is no template.
#[derive(Debug, thiserror::Error)]
pub(super) enum TemplateError {
    /// The program did not run: mostly it is not installed.
    #[error("cannot run mkfs.ext4")]
    Run(#[source] io::Error),
    /// The program ran and failed.
    #[error("mkfs.ext4 failed: {0}")]
    Failed(String),
    /// A file could not be written.
    #[error("cannot write the template")]
    Write(#[from] io::Error),
}

/// Where the template for disks of `bytes` usable bytes is kept in `directory`.
pub(super) fn template_path(directory: &Path, bytes: u64) -> PathBuf {
    directory.join(format!("ext4-1-{bytes}.img"))
}

/// Makes the template if it is missing. The limit is exact to one in a hundred: the image is
/// as much larger as its file system needs for itself.
pub(super) fn make_template(directory: &Path, bytes: u64) -> Result<PathBuf, TemplateError> {
    let path = template_path(directory, bytes);
    if path.exists() {
        return Ok(path);
    }
    fs::create_dir_all(directory)?;
    let work = directory.join(format!("new-{}-{bytes}", std::process::id()));
    let _ = fs::remove_dir_all(&work);
    let made = format(&work, bytes).and_then(|image| Ok(fs::rename(image, &path)?));
    let _ = fs::remove_dir_all(&work);
    made.map(|()| path)
}

/// Copies a template, holes left out.
pub(super) fn copy_image(template: &Path, image: &Path) -> io::Result<()> {
    let source = File::open(template)?;
    let target = File::options().write(true).create_new(true).open(image)?;
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let end = i64::try_from(length).map_err(io::Error::other)?;
    let mut at = 0;
    while at < end {
        let data = match lseek64(source.as_raw_fd(), at, Whence::SeekData) {
            Ok(data) => data,
            Err(nix::errno::Errno::ENXIO) => break,
            Err(error) => return Err(error.into()),
        };
        at = lseek64(source.as_raw_fd(), data, Whence::SeekHole)?;
        copy_range(&source, &target, data, at)?;
    }
    Ok(())
}

fn copy_range(source: &File, target: &File, from: i64, to: i64) -> io::Result<()> {
    let (mut read, mut write) = (from, from);
    while read < to {
        let left = usize::try_from(to - read).map_err(io::Error::other)?;
        if copy_file_range(source, Some(&mut read), target, Some(&mut write), left)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

fn format(work: &Path, bytes: u64) -> Result<PathBuf, TemplateError> {
    let tree = work.join("tree");
    for (name, _, mode) in WRITABLE {
        let directory = tree.join(name);
        fs::create_dir_all(&directory)?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode))?;
    }
    let image = work.join("image");
    let inodes = (bytes / BYTES_PER_INODE).max(1024);
    let mut size = bytes + inodes * BYTES_FOR_INODE;
    // Each round corrects the last one's guess by what was missing; two are enough in
    // practice, and the bound only keeps a strange mkfs from looping.
    for _ in 0..8 {
        mkfs(&image, &tree, size, inodes)?;
        let usable = usable_bytes(&image)?;
        if usable >= bytes {
            return Ok(image);
        }
        size += (bytes - usable).next_multiple_of(BLOCK) + BLOCK;
    }
    Err(TemplateError::Failed("it never leaves enough room".into()))
}

fn mkfs(image: &Path, tree: &Path, size: u64, inodes: u64) -> Result<(), TemplateError> {
    let _ = fs::remove_file(image);
    File::create(image)?.set_len(size.next_multiple_of(BLOCK))?;
    let output = runtime::program("mkfs.ext4")
        .args([
            "-q",
            "-F",
            "-b",
            "4096",
            "-m",
            "0",
            "-O",
            "^has_journal,^resize_inode",
        ])
        // Packed metadata is few pieces to copy; what is not written is not copied at all.
        .args([
            "-E",
            "lazy_itable_init=1,nodiscard,packed_meta_blocks=1,root_owner=0:0",
        ])
        .args(["-N", &inodes.to_string(), "-d"])
        .args([tree, image])
        .stdin(Stdio::null())
        .output()
        .map_err(TemplateError::Run)?;
    if output.status.success() {
        return Ok(());
    }
    Err(TemplateError::Failed(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}

/// What a user can fill, from the superblock: free blocks without those ext4 keeps.
fn usable_bytes(image: &Path) -> io::Result<u64> {
    let mut block = [0; 1024];
    let mut file = File::open(image)?;
    file.seek(SeekFrom::Start(1024))?;
    file.read_exact(&mut block)?;
    let number = |at: usize| {
        let bytes: [u8; 4] = block[at..at + 4].try_into().expect("four bytes were taken");
        u64::from(u32::from_le_bytes(bytes))
    };
    let (total, free) = (number(4), number(12));
    let kept = (total / 50).min(KEPT_AT_MOST);
    Ok(free.saturating_sub(kept) * BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt};

    #[test]
    fn copy_keeps_content_and_holes() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("a"), directory.path().join("b"));
        let file = File::create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(b"middle", 33 << 20).unwrap();
        copy_image(&from, &to).unwrap();
        assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
        assert!(fs::metadata(&to).unwrap().blocks() * 512 < 1 << 20);
    }

    #[test]
    fn copy_never_replaces_an_image() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(&path, "x").unwrap();
        assert!(copy_image(&path, &path).is_err());
    }
}
