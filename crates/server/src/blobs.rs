//! The content of files: one file on disk per id, in one directory. Whether a file exists is the
//! store's word; content without a row is nobody's and `retention` removes it.
//!
//! Never takes an id from a client: every id that comes here was found in the store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::fs::File;

/// The directory. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Blobs(Arc<Path>);

impl Blobs {
    /// In `dir`, which is made when something is put there.
    #[must_use]
    pub fn new(dir: &Path) -> Blobs {
        Blobs(dir.into())
    }

    /// Where they lie.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// Where the content of a file lies.
    #[must_use]
    pub fn path(&self, id: &str) -> PathBuf {
        self.0.join(id)
    }

    /// Opens the content of a file. It can be read to its end even when it is removed meanwhile.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub async fn open(&self, id: &str) -> io::Result<File> {
        File::open(self.path(id)).await
    }

    /// Removes the content of a file. One that is not there is removed already.
    ///
    /// # Errors
    /// When the file system refuses.
    pub async fn remove(&self, id: &str) -> io::Result<()> {
        match tokio::fs::remove_file(self.path(id)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn what_is_open_is_read_to_its_end_and_removed_once() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(dir.path());
        std::fs::write(blobs.path("file_1"), "content").unwrap();
        let mut open = blobs.open("file_1").await.unwrap();
        blobs.remove("file_1").await.unwrap();
        blobs.remove("file_1").await.unwrap();
        let mut read = String::new();
        open.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "content");
        assert!(blobs.open("file_1").await.is_err());
    }
}
