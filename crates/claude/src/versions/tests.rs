//! The store against a registry on loopback.

mod changes;
mod stub;

use std::collections::HashMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use stub::{Fault, archive, gzip, link, noise, package};
use tempfile::TempDir;

const WAIT: Duration = Duration::from_secs(30);
const CONTENT: &[u8] = b"#!/bin/sh\necho hello\n";

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn req(text: &str) -> VersionReq {
    VersionReq::parse(text).unwrap()
}

/// The registry at this address, as npm's settings would name it.
fn registry(url: &str) -> Registry {
    // Only the first test of a process installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let env = HashMap::from([
        ("npm_config_registry", url.to_owned()),
        ("npm_config_globalconfig", "/nowhere".into()),
    ]);
    let nowhere = Path::new("/nowhere");
    Registry::from_npm_config(&|name| env.get(name).cloned(), nowhere, nowhere).unwrap()
}

/// A store of its own.
struct Store {
    dir: TempDir,
    versions: Versions,
}

impl Store {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let versions = Versions::open(dir.path().join("cli")).unwrap();
        Self { dir, versions }
    }

    fn with(numbers: &[&str]) -> Self {
        let store = Self::new();
        for number in numbers {
            let home = store.versions.dir.join(number);
            fs::create_dir(&home).unwrap();
            fs::write(home.join(EXECUTABLE), CONTENT).unwrap();
            set_mode(&home, 0o555).unwrap();
        }
        store
    }

    async fn install(
        &self,
        stub: &stub::Registry,
        requirement: Option<&str>,
    ) -> Result<Installed, InstallError> {
        let requirement = requirement.map(req);
        let registry = registry(&stub.url);
        let install = self
            .versions
            .install(&registry, requirement.as_ref(), |_| {});
        tokio::time::timeout(WAIT, install).await.unwrap()
    }

    /// Names of everything but the lock.
    fn content(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.versions.dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.retain(|name| name != LOCK);
        names.sort();
        names
    }
}

async fn failure(package: Vec<u8>, fault: Fault) -> InstallError {
    let stub = stub::Registry::start(package, &["2.0.0"], fault).await;
    let store = Store::new();
    let error = store.install(&stub, None).await.unwrap_err();
    assert_eq!(store.content(), [""; 0], "{error}");
    error
}

#[tokio::test]
async fn an_installed_version_is_whole_and_read_only() {
    let stub = stub::Registry::start(package(CONTENT), &["2.0.0", "2.1.0"], Fault::None).await;
    let store = Store::new();
    let last = Mutex::new(None);
    let installed = store
        .versions
        .install(&registry(&stub.url), None, |progress| {
            *last.lock().unwrap() = Some(progress)
        })
        .await
        .unwrap();
    assert_eq!(installed.version, version("2.1.0"));
    assert!(installed.default);
    assert_eq!(fs::read(&installed.path).unwrap(), CONTENT);
    assert_eq!(installed.size, CONTENT.len() as u64);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        (
            mode(&installed.path),
            mode(installed.path.parent().unwrap())
        ),
        (0o555, 0o555)
    );
    assert_eq!(*last.lock().unwrap(), Some(Progress::Finishing));
    assert_eq!(store.content(), ["2.1.0"]);
}

#[tokio::test]
async fn what_is_installed_is_not_downloaded_again() {
    let stub = stub::Registry::start(package(CONTENT), &["2.0.0", "2.1.0"], Fault::None).await;
    let store = Store::new();
    let first = store.install(&stub, Some("~2.0")).await.unwrap();
    assert_eq!(first.version, version("2.0.0"));
    assert_eq!(store.install(&stub, Some("=2.0.0")).await.unwrap(), first);
    assert_eq!(stub.downloads(), 1);
}

#[tokio::test]
async fn progress_counts_every_byte() {
    let archive = package(&noise(300_000));
    let (all, stub) = (
        archive.len() as u64,
        stub::Registry::start(archive, &["2.0.0"], Fault::None).await,
    );
    let store = Store::new();
    let most = AtomicU64::new(0);
    store
        .versions
        .install(&registry(&stub.url), None, |progress| {
            if let Progress::Downloading {
                received, total, ..
            } = progress
            {
                assert_eq!(total, Some(all));
                most.fetch_max(received, Ordering::SeqCst);
            }
        })
        .await
        .unwrap();
    assert_eq!(most.into_inner(), all);
}

#[tokio::test]
async fn a_cut_download_leaves_nothing() {
    let error = failure(package(&noise(300_000)), Fault::Cut).await;
    assert!(
        matches!(error, InstallError::Registry(RegistryError::Connect { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_changed_package_leaves_nothing() {
    let error = failure(package(&noise(300_000)), Fault::Changed).await;
    assert!(matches!(error, InstallError::Integrity { .. }), "{error:?}");
}

#[tokio::test]
async fn a_package_without_a_strong_hash_is_refused_before_the_download() {
    let stub = stub::Registry::start(package(CONTENT), &["2.0.0"], Fault::NoIntegrity).await;
    let error = Store::new().install(&stub, None).await.unwrap_err();
    assert!(
        matches!(
            error,
            InstallError::Registry(RegistryError::NoIntegrity { .. })
        ),
        "{error:?}"
    );
    assert_eq!(stub.downloads(), 0);
}

#[tokio::test]
async fn a_missing_package_and_a_missing_version_are_told_apart() {
    let error = failure(package(CONTENT), Fault::Missing).await;
    assert!(
        matches!(error, InstallError::Registry(RegistryError::Status { status, .. }) if status == 404),
        "{error:?}"
    );
    let stub = stub::Registry::start(package(CONTENT), &["2.0.0"], Fault::None).await;
    let error = Store::new().install(&stub, Some(">=3")).await.unwrap_err();
    assert!(
        matches!(
            error,
            InstallError::Registry(RegistryError::NoVersion { .. })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_redirect_is_followed() {
    let stub = stub::Registry::start(package(CONTENT), &["2.0.0"], Fault::Redirect).await;
    assert!(Store::new().install(&stub, None).await.is_ok());
}

#[tokio::test]
async fn a_mirror_that_repeats_public_addresses_is_asked_itself() {
    let stub = stub::Registry::start(package(CONTENT), &["2.0.0"], Fault::PublicAddress).await;
    assert!(Store::new().install(&stub, None).await.is_ok());
    assert_eq!(stub.downloads(), 1);
}

#[tokio::test]
async fn a_published_package_that_makes_no_sense_is_refused() {
    let whole = package(&noise(100_000));
    for (name, package) in [
        (
            "cut before it was published",
            whole[..whole.len() / 2].to_vec(),
        ),
        ("no gzip", noise(1000)),
        ("no archive", gzip(&noise(1000))),
    ] {
        let error = failure(package, Fault::None).await;
        assert!(
            matches!(error, InstallError::Unpack(_)),
            "{name}: {error:?}"
        );
    }
    for name in [
        "claude",
        "package/../package/claude",
        "/package/claude",
        "./package/claude",
        "package/claude/x",
    ] {
        let error = failure(archive(&[(name, CONTENT)]), Fault::None).await;
        assert!(
            matches!(error, InstallError::NoExecutable),
            "{name}: {error:?}"
        );
    }
    let error = failure(link("/bin/sh"), Fault::None).await;
    assert!(matches!(error, InstallError::NotAFile), "{error:?}");
}

#[tokio::test]
async fn files_beside_the_executable_are_never_written() {
    let evil: &[(&str, &[u8])] = &[
        ("../../evil", b"x"),
        ("/tmp/evil-claude", b"x"),
        ("package/claude", CONTENT),
        ("package/../../evil", b"x"),
    ];
    let stub = stub::Registry::start(archive(evil), &["2.0.0"], Fault::None).await;
    let store = Store::new();
    store.install(&stub, None).await.unwrap();
    assert_eq!(store.content(), ["2.0.0"]);
    assert_eq!(fs::read_dir(store.dir.path()).unwrap().count(), 1);
    assert!(!Path::new("/tmp/evil-claude").exists());
}

#[tokio::test]
async fn eight_installations_at_once_download_once() {
    let stub = stub::Registry::start(package(&noise(500_000)), &["2.0.0"], Fault::None).await;
    let store = Store::new();
    let installs = (0..8).map(|_| store.install(&stub, None));
    for installed in futures::future::join_all(installs).await {
        assert_eq!(installed.unwrap().version, version("2.0.0"));
    }
    assert_eq!(stub.downloads(), 1);
    assert_eq!(store.content(), ["2.0.0"]);
}

#[tokio::test]
async fn a_dropped_installation_leaves_nothing_for_the_next_one() {
    let stalled = stub::Registry::start(package(&noise(500_000)), &["2.0.0"], Fault::Stall).await;
    let store = Store::new();
    let (sender, mut begun) = tokio::sync::mpsc::channel(1);
    let registry = registry(&stalled.url);
    let install = store.versions.install(&registry, None, |progress| {
        if matches!(progress, Progress::Downloading { received, .. } if received > 0) {
            let _ = sender.try_send(());
        }
    });
    tokio::select! {
        result = install => panic!("the download ended: {result:?}"),
        _ = begun.recv() => {}
    }
    let stub = stub::Registry::start(package(CONTENT), &["2.0.0"], Fault::None).await;
    let installed = store.install(&stub, None).await.unwrap();
    assert_eq!(fs::read(installed.path).unwrap(), CONTENT);
    assert_eq!(store.content(), ["2.0.0"]);
}

#[tokio::test]
async fn stale_staging_is_cleared_on_open_unless_somebody_works() {
    let store = Store::with(&["2.0.0"]);
    let stale = store.versions.dir.join(".tmp-2.1.0");
    fs::create_dir(&stale).unwrap();
    fs::write(stale.join(EXECUTABLE), "half").unwrap();
    set_mode(&stale, 0o555).unwrap();
    let lock = store.versions.lock().unwrap();
    Versions::open(store.versions.dir.clone()).unwrap();
    assert_eq!(store.content(), [".tmp-2.1.0", "2.0.0"]);
    drop(lock);
    Versions::open(store.versions.dir.clone()).unwrap();
    assert_eq!(store.content(), ["2.0.0"]);
}

/// The body of a child process in the tests below; alone it does nothing.
#[tokio::test]
async fn child_installs() {
    let (Ok(url), Ok(dir)) = (
        std::env::var("TEST_CHILD_REGISTRY"),
        std::env::var("TEST_CHILD_DIR"),
    ) else {
        return;
    };
    let versions = Versions::open(dir.into()).unwrap();
    match versions.install(&registry(&url), None, |_| {}).await {
        Ok(_) => println!("child: installed"),
        Err(error) => println!("child: {error:?}"),
    }
}

fn child(program: Option<(&str, &[&str])>, url: &str, dir: &Path) -> Command {
    let own = std::env::current_exe().unwrap();
    let mut command = match program {
        None => Command::new(own),
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(own);
            command
        }
    };
    command.args(["--exact", "--nocapture", "versions::tests::child_installs"]);
    command
        .env("TEST_CHILD_REGISTRY", url)
        .env("TEST_CHILD_DIR", dir);
    command
}

fn output(mut command: Command) -> tokio::task::JoinHandle<String> {
    tokio::task::spawn_blocking(move || {
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    })
}

#[tokio::test]
async fn two_processes_at_once_download_once() {
    let stub = stub::Registry::start(package(&noise(500_000)), &["2.0.0"], Fault::None).await;
    let store = Store::new();
    let children = [(); 2].map(|()| output(child(None, &stub.url, &store.versions.dir)));
    for child in children {
        let said = child.await.unwrap();
        assert!(said.contains("child: installed"), "{said}");
    }
    assert_eq!(stub.downloads(), 1);
    assert_eq!(store.content(), ["2.0.0"]);
}

#[tokio::test]
async fn a_full_disk_leaves_nothing() {
    let stub = stub::Registry::start(package(&noise(4_000_000)), &["2.0.0"], Fault::None).await;
    let dir = tempfile::tempdir().unwrap();
    // The small disk exists in the child's own mount namespace and goes with it.
    let script = format!(
        "mount -t tmpfs -o size=1m tmpfs '{0}' || {{ echo 'no mount here'; exit; }}; \"$@\"; echo left: $(ls -A '{0}/cli')",
        dir.path().display()
    );
    let arguments = ["--mount", "sh", "-c", &script, "sh"];
    let program = Some(("unshare", arguments.as_slice()));
    let said = output(child(program, &stub.url, &dir.path().join("cli")))
        .await
        .unwrap();
    if !nix::unistd::geteuid().is_root()
        || said.contains("no mount here")
        || said.contains("unshare:")
    {
        println!("skipped: this host gives the test no disk of its own: {said}");
        return;
    }
    assert!(
        said.contains("child: Write") && said.contains("StorageFull"),
        "{said}"
    );
    assert!(said.contains("left: .lock\n"), "{said}");
}

#[test]
fn the_newest_is_the_default_until_one_is_chosen() {
    let store = Store::with(&["2.0.0", "2.1.0", "2.10.0", "not-a-version"]);
    let listed = || -> Vec<String> {
        let list = store.versions.list().unwrap();
        list.iter()
            .map(|one| format!("{}{}", one.version, if one.default { "*" } else { "" }))
            .collect()
    };
    assert_eq!(listed(), ["2.10.0*", "2.1.0", "2.0.0"]);
    store.versions.use_version(&version("2.1.0")).unwrap();
    assert_eq!(listed(), ["2.10.0", "2.1.0*", "2.0.0"]);
    let missing = store.versions.use_version(&version("3.0.0")).unwrap_err();
    assert!(
        missing.to_string().contains("hostel cli install 3.0.0"),
        "{missing}"
    );
}

#[test]
fn a_session_gets_the_newest_allowed_and_the_chosen_one_before_that() {
    let store = Store::with(&["2.0.0", "2.0.9", "2.1.0"]);
    let resolve = |text: Option<&str>| {
        store
            .versions
            .resolve(text.map(req).as_ref())
            .map(|one| one.version.to_string())
    };
    assert_eq!(resolve(None).unwrap(), "2.1.0");
    assert_eq!(resolve(Some("~2.0")).unwrap(), "2.0.9");
    store.versions.use_version(&version("2.0.0")).unwrap();
    assert_eq!(resolve(None).unwrap(), "2.0.0");
    assert_eq!(resolve(Some("^2")).unwrap(), "2.0.0");
    assert_eq!(resolve(Some(">=2.0.5")).unwrap(), "2.1.0");
    let error = resolve(Some(">=3")).unwrap_err().to_string();
    assert!(
        error.contains("2.1.0; 2.0.9; 2.0.0") && error.contains("hostel cli upgrade '>=3'"),
        "{error}"
    );
}

#[test]
fn an_empty_store_says_how_to_fill_it() {
    let error = Store::new().versions.resolve(None).unwrap_err();
    assert!(error.to_string().contains("hostel cli install"), "{error}");
}

#[test]
fn the_default_is_removed_only_by_force() {
    let store = Store::with(&["2.0.0", "2.1.0"]);
    let remove = |text, force| store.versions.remove(&version(text), force);
    store.versions.use_version(&version("2.1.0")).unwrap();
    let error = remove("2.1.0", false).unwrap_err();
    assert!(error.to_string().contains("--force"), "{error}");
    remove("2.1.0", true).unwrap();
    assert_eq!(store.content(), ["2.0.0", "offers.json"]);
    assert!(matches!(
        remove("2.1.0", true),
        Err(RemoveError::NotInstalled { .. })
    ));
    assert_eq!(
        store.versions.resolve(None).unwrap().version,
        version("2.0.0")
    );
}

#[test]
fn people_write_versions_in_their_own_ways() {
    let exact = requirement(" 2.1.330\n").unwrap().unwrap();
    assert!(exact.matches(&version("2.1.330")) && !exact.matches(&version("2.1.331")));
    assert!(
        requirement("^2.1")
            .unwrap()
            .unwrap()
            .matches(&version("2.9.0"))
    );
    assert_eq!(requirement("latest").unwrap(), None);
    assert!(requirement("next week").is_err());
}
