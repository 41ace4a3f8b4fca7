//! A small disk of a test's own, in memory, mounted on a directory; gone when it is dropped.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// The file that takes all the room.
const BALLAST: &str = "ballast";

/// The disk.
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts one of this many MiB on a new directory.
    #[must_use]
    pub fn new(path: PathBuf, mib: u64) -> Disk {
        fs::create_dir(&path).unwrap();
        let size = format!("size={mib}m");
        let none: Option<&str> = None;
        mount(
            none,
            &path,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(size.as_str()),
        )
        .unwrap();
        Disk { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        use std::io::Write;
        let mut file = fs::File::create(self.path.join(BALLAST)).unwrap();
        let mut size = 1 << 20;
        while size > 0 {
            if file.write_all(&vec![b'x'; size]).is_err() {
                size /= 2;
            }
        }
    }

    /// Makes room again.
    pub fn empty(&self) {
        fs::remove_file(self.path.join(BALLAST)).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a test that failed may have left something open.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.path);
    }
}
