//! The directories of lines, and who may touch one when.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
};

use tokio::sync::RwLock;

use crate::{Key, OpenError, RemoveError, StoreError};

/// The longest name of a line.
const NAME_MAX: usize = 128;

/// What a line that is being removed is called, so that the next start goes on with it.
const REMOVED: &str = ".removed-";

/// A directory of lines.
pub struct Lines {
    dir: PathBuf,
    key: Option<Key>,
    /// Locks of the lines that somebody uses. Whoever adds or reads shares one; whoever removes
    /// has it alone.
    locks: Mutex<HashMap<String, Weak<RwLock<()>>>>,
}

/// One of them.
#[derive(Clone)]
pub struct Line {
    pub path: PathBuf,
    pub key: Option<Key>,
}

impl Lines {
    pub fn open(dir: PathBuf, key: Option<Key>) -> Result<Self, OpenError> {
        let made = fs::create_dir_all(&dir);
        made.map_err(|error| StoreError::io("making", &dir, error))?;
        let entries = fs::read_dir(&dir).map_err(|error| StoreError::io("reading", &dir, error))?;
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(REMOVED) {
                let path = entry.path();
                let gone = fs::remove_dir_all(&path);
                gone.map_err(|error| StoreError::io("removing", &path, error))?;
            }
        }
        Ok(Self {
            dir,
            key,
            locks: Mutex::default(),
        })
    }

    /// A line by its name.
    pub fn line(&self, name: &str) -> Result<Line, StoreError> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(fine) {
            return Err(StoreError::BadLine(name.to_owned()));
        }
        Ok(Line {
            path: self.dir.join(name),
            key: self.key.clone(),
        })
    }

    /// The lock of a line.
    pub fn lock(&self, name: &str) -> Arc<RwLock<()>> {
        let mut locks = self.locks.lock().expect("no holder panics");
        if let Some(lock) = locks.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(RwLock::new(()));
        locks.insert(name.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

impl Line {
    /// Makes the directory when it is missing.
    pub fn make(&self) -> Result<(), StoreError> {
        match fs::create_dir(&self.path) {
            Ok(()) => self.path.parent().map_or(Ok(()), sync_dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(StoreError::io("making", &self.path, error)),
        }
    }

    /// Makes what was named or removed in the directory durable.
    pub fn sync(&self) -> Result<(), StoreError> {
        sync_dir(&self.path)
    }
}

fn sync_dir(path: &Path) -> Result<(), StoreError> {
    let synced = fs::File::open(path).and_then(|dir| dir.sync_all());
    synced.map_err(|error| StoreError::io("syncing", path, error))
}

/// Runs work that blocks to its end, also when nobody waits for it any more.
pub async fn blocking<T: Send + 'static, E: From<StoreError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(StoreError::Aborted.into()),
    }
}

pub async fn list(lines: &Arc<Lines>) -> Result<Vec<String>, StoreError> {
    let dir = lines.dir.clone();
    blocking(move || {
        let failed = |error| StoreError::io("reading", &dir, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    })
    .await
}

pub async fn remove(lines: &Arc<Lines>, name: &str) -> Result<(), RemoveError> {
    let line = lines.line(name)?;
    let alone = lines.lock(name).write_owned().await;
    let aside = lines.dir.join(format!("{REMOVED}{name}"));
    blocking(move || {
        let _alone = alone;
        // Under another name first, so that half a line is never taken for one.
        match fs::rename(&line.path, &aside) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::io("removing", &line.path, error).into()),
        }
        let gone = fs::remove_dir_all(&aside);
        gone.map_err(|error| StoreError::io("removing", &aside, error))?;
        line.path.parent().map_or(Ok(()), sync_dir)?;
        Ok(())
    })
    .await
}
