//! Where a canary lives: a data directory inside the real one, for one upgrade at a time, cleared of
//! what an upgrade left that was killed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use claude::versions::Installed;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sandbox::Provider;
use sandbox::oci::{self, Oci, RuntimeChoice};
use server::config::{Budgets, Config};
use server::wire;

use crate::failure::Failure;

/// Below the data directory.
const NAME: &str = "canary";
/// Held by the upgrade that runs. It stays, because removing a locked file would let two in.
const LOCK: &str = "canary.lock";
/// How often the end of a sandbox is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// The place of one canary, ours alone as long as this value lives.
pub struct Place {
    dir: PathBuf,
    _lock: Flock<File>,
}

impl Place {
    /// Takes the place, empty.
    pub async fn claim(config: &Config) -> Result<Place, Failure> {
        let failed = |error: &io::Error| Failure::caused("cannot prepare the canary", error);
        let data = std::path::absolute(&config.data).map_err(|error| failed(&error))?;
        let Some(lock) = lock(&data).map_err(|error| failed(&error))? else {
            return Err(
                Failure::new("another upgrade is under way on this data directory")
                    .next("wait until it is done; `hostel cli list` shows what it led to"),
            );
        };
        let dir = data.join(NAME);
        clean(&dir, wire::runtime(config)).await?;
        // Its owner's alone, like every data directory.
        let mut private = fs::DirBuilder::new();
        let made = private.mode(0o700).create(&dir);
        made.map_err(|error| failed(&error))?;
        Ok(Place { dir, _lock: lock })
    }

    /// The settings of a server here that runs this version and no other.
    pub fn settings(&self, config: &Config, version: &Installed) -> Result<Config, Failure> {
        let home = self.dir.join("cli").join(version.version.to_string());
        show(&version.path, &home)
            .map_err(|error| Failure::caused("cannot show the version to the canary", &error))?;
        let mut config = config.clone();
        config.data.clone_from(&self.dir);
        // What the scripted model says is paid by nobody.
        config.budgets = Budgets::default();
        config.cli.version = format!("={}", version.version)
            .parse()
            .expect("a version is a requirement of itself");
        Ok(config)
    }

    /// Waits until no sandbox is left.
    pub async fn empty(&self) -> Result<(), Failure> {
        while fs::read_dir(self.dir.join("sandboxes")).is_ok_and(|mut left| left.next().is_some()) {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Gives the place back, with nothing in it.
    pub async fn leave(self, config: &Config) -> Result<(), Failure> {
        clean(&self.dir, wire::runtime(config)).await
    }
}

/// Clears what an upgrade left that was killed, unless one is under way.
pub async fn clear(data: &Path, runtime: RuntimeChoice) -> Result<(), Failure> {
    let Ok(data) = std::path::absolute(data) else {
        return Ok(());
    };
    let dir = data.join(NAME);
    if !dir.exists() {
        return Ok(());
    }
    match lock(&data) {
        Ok(Some(_lock)) => clean(&dir, runtime).await,
        Ok(None) => Ok(()),
        Err(error) => Err(Failure::caused("cannot look after a canary", &error)),
    }
}

fn lock(data: &Path) -> io::Result<Option<Flock<File>>> {
    fs::create_dir_all(data)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(data.join(LOCK))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Destroys the sandboxes that are left here, also frozen ones, and removes everything.
async fn clean(dir: &Path, runtime: RuntimeChoice) -> Result<(), Failure> {
    let left = fs::read_dir(dir.join("sandboxes")).is_ok_and(|mut left| left.next().is_some());
    if left {
        destroy(dir, runtime).await?;
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::caused("cannot remove the canary", &error))
        }
        _ => Ok(()),
    }
}

async fn destroy(dir: &Path, runtime: RuntimeChoice) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::caused("cannot remove the sandboxes of a canary", error)
    };
    let program = std::env::current_exe().map_err(|error| failed(&error))?;
    let mut made = oci::Config::new(dir.to_owned(), program, sandbox::guest_channel::GUEST);
    made.runtime = runtime;
    let provider = Oci::probe(made).await.map_err(|error| failed(&error))?;
    for found in provider.list().await.map_err(|error| failed(&error))? {
        let destroyed = provider.destroy(&found.id).await;
        destroyed.map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// The executable under another directory, without a copy of its hundreds of megabytes.
fn show(executable: &Path, home: &Path) -> io::Result<()> {
    fs::create_dir_all(home)?;
    let shown = home.join("claude");
    match fs::hard_link(executable, &shown) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Another file system, or one without hard links.
        Err(_) => std::os::unix::fs::symlink(std::path::absolute(executable)?, &shown),
    }
}
