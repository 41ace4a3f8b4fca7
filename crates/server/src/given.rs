//! What a server takes while the process that starts it still has privileges: its port and the files that
//! are read once. What is read again later (certificates) or written (the data directory) is not among
//! them, and must be open to the user that the server becomes.

use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use sandbox::Rootfs;

use crate::config::Config;
use crate::lifecycle::StartError;
use crate::vaults::{self, Keyring};
use crate::wire::{self, WireError};

/// Connections that the kernel keeps for us until they are accepted.
const BACKLOG: i32 = 1024;

/// Everything that a server is given at its start.
#[derive(Debug)]
pub struct Given {
    pub(crate) listener: TcpListener,
    pub(crate) papers: Papers,
    /// The way to the keeper that makes the sandboxes; without one the server makes them itself.
    pub keeper: Option<UnixStream>,
}

/// The content of files that are read once, and what the root file system is.
#[derive(Debug)]
pub struct Papers {
    pub(crate) rootfs: Rootfs,
    pub(crate) snapshot_key: Option<snapshot::Key>,
    /// The keys of vaults that the settings name.
    pub(crate) vault_keys: Option<Keyring>,
    pub(crate) authorities: Option<String>,
    pub(crate) prices: Option<String>,
}

impl Given {
    /// Takes port and files, as the settings name them.
    ///
    /// # Errors
    /// When the port cannot be had or a file not be read.
    pub fn take(config: &Config) -> Result<Given, StartError> {
        let address = config.listen;
        let failed = |source| StartError::Listen { address, source };
        // Before the files, because a taken port is the most frequent reason and the cheapest to see.
        let listener = TcpListener::bind(address).map_err(failed)?;
        // The standard library asks for a shorter queue.
        rustix::net::listen(&listener, BACKLOG).map_err(|errno| failed(errno.into()))?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Given {
            listener,
            papers: Papers::read(config)?,
            keeper: None,
        })
    }
}

impl Papers {
    /// Reads what the settings name.
    ///
    /// # Errors
    /// When a file cannot be read or holds no key, or the root file system is not there.
    pub fn read(config: &Config) -> Result<Papers, WireError> {
        let read = |path: &Option<PathBuf>| path.as_deref().map(read).transpose();
        Ok(Papers {
            rootfs: wire::rootfs(&config.sandbox.rootfs)?,
            snapshot_key: config
                .snapshot_key_file
                .as_deref()
                .map(snapshot_key)
                .transpose()?,
            vault_keys: Keyring::read(&config.vaults).map_err(WireError::VaultKeys)?,
            authorities: read(&config.egress.authorities_file)
                .map_err(|(path, source)| WireError::Authorities { path, source })?,
            prices: read(&config.prices.file)
                .map_err(|(path, source)| WireError::PricesFile { path, source })?,
        })
    }
}

fn read(path: &Path) -> Result<String, (PathBuf, std::io::Error)> {
    std::fs::read_to_string(path).map_err(|source| (path.to_owned(), source))
}

fn snapshot_key(path: &Path) -> Result<snapshot::Key, WireError> {
    let text = std::fs::read_to_string(path).map_err(|source| WireError::SnapshotKeyFile {
        path: path.to_owned(),
        source,
    })?;
    let key = vaults::key::digits(text.trim());
    key.map(snapshot::Key::new)
        .ok_or_else(|| WireError::SnapshotKey {
            path: path.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_snapshots_is_64_digits_and_nothing_else() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            snapshot_key(file.path())
        };
        assert!(read(&format!("{}\n", "0f".repeat(32))).is_ok());
        for wrong in [
            "",
            "0f",
            &"0g".repeat(32),
            &"0f".repeat(33),
            &"é".repeat(32),
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains("openssl rand"), "{wrong}: {error}");
        }
    }
}
