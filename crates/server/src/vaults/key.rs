//! The keys that seal credentials, and where they come from: a file, a variable, or what a command
//! prints, so that a key service fits. Never shows a key, also not when one is wrong.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::config::{KeySource, Vaults};

/// The name of the key that is made in the data directory.
const MADE: &str = "vault.key";

/// A key. It has no `Debug` with content.
pub struct Key {
    /// Its name, which says nothing of it.
    pub id: String,
    bytes: [u8; 32],
}

/// The key that seals, and those that only open.
#[derive(Clone, Debug)]
pub struct Keyring {
    present: Arc<Key>,
    former: Vec<Arc<Key>>,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read.
    #[error("cannot read the vaults' key from {}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A key cannot be made.
    #[error("cannot make the vaults' key {}", .path.display())]
    Make {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A variable is not set.
    #[error("the variable {name}, which the vaults' key is in, is not set")]
    Variable {
        /// Which.
        name: String,
    },
    /// A command cannot be run.
    #[error("cannot run the command that prints the vaults' key")]
    Command(#[source] std::io::Error),
    /// A command failed.
    #[error("the command that prints the vaults' key failed: {status}")]
    Failed {
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// What is there is no key.
    #[error("{place} does not hold 64 hexadecimal digits; make a key with `openssl rand -hex 32`")]
    NotAKey {
        /// Where it was looked for.
        place: String,
    },
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl Key {
    /// The key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Key {
        let named = [b"hostel vault key".as_slice(), &bytes].concat();
        let hash = digest(&SHA256, &named);
        let id = hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}"));
        Key {
            id: id.collect(),
            bytes,
        }
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    fn parse(text: &str, place: impl Into<String>) -> Result<Key, KeyError> {
        let bytes = digits(text.trim());
        bytes.map(Key::new).ok_or_else(|| KeyError::NotAKey {
            place: place.into(),
        })
    }
}

impl Keyring {
    /// A ring with this key alone, for tests.
    #[must_use]
    pub fn of(present: Key, former: Vec<Key>) -> Keyring {
        Keyring {
            present: Arc::new(present),
            former: former.into_iter().map(Arc::new).collect(),
        }
    }

    /// Reads the keys that the settings name; `None` when they name none. It blocks, for as long as a
    /// command takes.
    ///
    /// # Errors
    /// When a key cannot be read.
    pub fn read(config: &Vaults) -> Result<Option<Keyring>, KeyError> {
        let Some(present) = &config.key else {
            return Ok(None);
        };
        let former = config.former_keys.iter().map(|text| source(config, text));
        let former = former.collect::<Result<_, _>>()?;
        Ok(Some(Keyring::of(source(config, present)?, former)))
    }

    /// Adds the key in the data directory, which is made for this user alone where no other is configured.
    ///
    /// # Errors
    /// When the key cannot be read or made.
    pub fn complete(configured: Option<Keyring>, data: &Path) -> Result<Keyring, KeyError> {
        let made = data.join(MADE);
        let Some(mut keys) = configured else {
            return Ok(Keyring::of(make(&made)?, Vec::new()));
        };
        if made.exists() {
            keys.former.push(Arc::new(file(&made)?));
        }
        Ok(keys)
    }

    /// The key that seals.
    #[must_use]
    pub fn present(&self) -> &Key {
        &self.present
    }

    /// The key of this name.
    pub(super) fn named(&self, id: &str) -> Option<&Key> {
        let mut all = std::iter::once(&self.present).chain(&self.former);
        all.find(|key| key.id == id).map(|key| &**key)
    }
}

fn source(config: &Vaults, text: &str) -> Result<Key, KeyError> {
    match KeySource::of(text) {
        Some(KeySource::File(path)) => file(Path::new(path)),
        Some(KeySource::Variable(name)) => {
            let key = config.variables.get(name);
            let absent = || KeyError::Variable {
                name: name.to_owned(),
            };
            Key::parse(
                key.ok_or_else(absent)?.expose(),
                format!("the variable {name}"),
            )
        }
        Some(KeySource::Command(command)) => printed(command),
        None => Err(KeyError::NotAKey {
            place: "the setting".to_owned(),
        }),
    }
}

fn file(path: &Path) -> Result<Key, KeyError> {
    let text = std::fs::read_to_string(path).map_err(|source| KeyError::Read {
        path: path.to_owned(),
        source,
    })?;
    Key::parse(&text, path.display().to_string())
}

fn printed(command: &str) -> Result<Key, KeyError> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command);
    shell.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = shell.output().map_err(KeyError::Command)?;
    if !output.status.success() {
        let status = output.status;
        return Err(KeyError::Failed { status });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Key::parse(&text, "what the command printed")
}

/// The key in a file of our own, which is made when it is not there. One that was cut while it was made
/// is no key, and nothing was sealed with it yet: it never has its name before it is whole.
fn make(path: &Path) -> Result<Key, KeyError> {
    match file(path) {
        Err(KeyError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {}
        read => return read,
    }
    let failed = |source| KeyError::Make {
        path: path.to_owned(),
        source,
    };
    let mut bytes = [0; 32];
    let unlucky = |_| failed(std::io::Error::other("the system has no randomness"));
    SystemRandom::new().fill(&mut bytes).map_err(unlucky)?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let partial = path.with_extension("key.partial");
    let written = || -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&partial)?;
        file.write_all(format!("{text}\n").as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&partial, path)?;
        let directory = path.parent().unwrap_or(Path::new("."));
        std::fs::File::open(directory)?.sync_all()
    };
    written().map_err(failed)?;
    Ok(Key::new(bytes))
}

/// 32 bytes of 64 hexadecimal digits.
#[must_use]
pub fn digits(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (at, place) in bytes.iter_mut().enumerate() {
        *place = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    (text.len() == 64 && !text.contains('+')).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::Secret;

    fn config(key: &str, former: &[&str]) -> Vaults {
        Vaults {
            key: Some(key.to_owned()),
            former_keys: former.iter().map(|text| (*text).to_owned()).collect(),
            variables: [("THE_KEY".to_owned(), Secret::new("0f".repeat(32)))].into(),
        }
    }

    fn read(config: &Vaults, data: &Path) -> Result<Keyring, KeyError> {
        Keyring::complete(Keyring::read(config)?, data)
    }

    #[test]
    fn without_a_setting_a_key_is_made_once_for_this_user_alone() {
        let data = tempfile::tempdir().unwrap();
        let none = Vaults::default();
        let first = read(&none, data.path()).unwrap();
        let again = read(&none, data.path()).unwrap();
        assert_eq!(first.present().id, again.present().id);
        let path = data.path().join(MADE);
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!format!("{:?}", first.present()).contains(text.trim()));

        // With a setting it only opens.
        let set = read(&config("env:THE_KEY", &[]), data.path()).unwrap();
        assert_ne!(set.present().id, first.present().id);
        assert!(set.named(&first.present().id).is_some());
    }

    #[test]
    fn keys_come_from_files_variables_and_commands() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("k");
        std::fs::write(&path, format!("{}\n", "0f".repeat(32))).unwrap();
        let file = format!("file:{}", path.display());
        let command = format!("command:cat {}", path.display());
        let expected = Key::new([15; 32]).id;
        for source in [file.as_str(), "env:THE_KEY", &command] {
            let ring = read(&config(source, &["env:THE_KEY"]), data.path()).unwrap();
            assert_eq!(ring.present().id, expected, "{source}");
        }
        for (source, message) in [
            (
                "file:/nowhere/k",
                "cannot read the vaults' key from /nowhere/k",
            ),
            ("env:ABSENT", "the variable ABSENT"),
            ("command:exit 3", "failed: exit status: 3"),
            (
                "command:echo s3cret",
                "what the command printed does not hold 64",
            ),
        ] {
            let error = read(&config(source, &[]), data.path());
            let error = error.err().unwrap().to_string();
            assert!(
                error.contains(message) && !error.contains("s3cret"),
                "{error}"
            );
        }
    }
}
