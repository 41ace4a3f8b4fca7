//! The lock on a data directory: an exclusive `flock` on a file that holds our process number. The
//! kernel lets go of it however the process ends. Never removes the file, so that two openers can
//! never lock two different files of the same name.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::OpenError;

/// Held as long as this lives.
pub(crate) struct Lock {
    _file: Flock<File>,
}

/// Takes the lock without waiting.
pub(crate) fn take(path: &Path) -> Result<Lock, OpenError> {
    let failed = |source: std::io::Error| OpenError::Files {
        path: path.to_owned(),
        source,
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut file) => {
            write_pid(&mut file).map_err(failed)?;
            Ok(Lock { _file: file })
        }
        Err((file, Errno::EWOULDBLOCK)) => Err(OpenError::InUse {
            pid: read_pid(file),
        }),
        Err((_, errno)) => Err(failed(errno.into())),
    }
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(mut file: File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
