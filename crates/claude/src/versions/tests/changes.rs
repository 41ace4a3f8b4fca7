//! What is offered after what happened, also when it was cut short.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;

fn canary(from: Option<&str>, failure: Option<&str>) -> Canary {
    Canary {
        at_s: 1_800_000_000,
        from: from.map(version),
        steps: vec![Step {
            name: "start".into(),
            seconds: 0.5,
        }],
        failure: failure.map(str::to_owned),
    }
}

/// `2.1.0*+` is the default and offered, `2.1.0-` was withdrawn, `2.1.0` is unproved.
fn shown(versions: &Versions) -> Vec<String> {
    let show = |one: Installed| {
        let standing = match one.standing {
            Standing::Offered => "+",
            Standing::Unproved => "",
            Standing::Withdrawn => "-",
        };
        let default = if one.default { "*" } else { "" };
        format!("{}{default}{standing}", one.version)
    };
    versions.list().unwrap().into_iter().map(show).collect()
}

impl Store {
    /// As an installation does it, without the download.
    fn add(&self, number: &str) {
        let home = self.versions.dir.join(number);
        fs::create_dir(&home).unwrap();
        fs::write(home.join(EXECUTABLE), CONTENT).unwrap();
    }
}

#[test]
fn all_is_offered_until_somebody_upgrades() {
    let store = Store::with(&["2.0.0", "2.1.0"]);
    assert_eq!(shown(&store.versions), ["2.1.0*+", "2.0.0+"]);
    store.versions.curate().unwrap();
    store.add("2.2.0");
    assert_eq!(shown(&store.versions), ["2.2.0", "2.1.0*+", "2.0.0+"]);
    store.versions.curate().unwrap();
    assert_eq!(shown(&store.versions), ["2.2.0", "2.1.0*+", "2.0.0+"]);
}

#[test]
fn only_what_passed_is_offered_and_one_command_goes_back() {
    let store = Store::with(&["2.1.0"]);
    let versions = &store.versions;
    versions.curate().unwrap();
    store.add("2.2.0");
    let (two, report) = (version("2.2.0"), canary(Some("2.1.0"), Some("turn: no")));
    assert!(!versions.judge(&two, report.clone()).unwrap());
    assert_eq!(shown(versions), ["2.2.0", "2.1.0*+"]);
    assert_eq!(versions.list().unwrap()[0].canary, Some(report));

    assert!(versions.judge(&two, canary(Some("2.1.0"), None)).unwrap());
    assert_eq!(shown(versions), ["2.2.0*+", "2.1.0+"]);
    let went = versions.rollback().unwrap();
    assert_eq!(went, (version("2.2.0"), version("2.1.0")));
    assert_eq!(shown(versions), ["2.2.0-", "2.1.0*+"]);
    // Also where the requirement would allow the withdrawn one.
    let got = versions.resolve(Some(&req(">=2.2"))).unwrap_err();
    assert!(got.to_string().contains("2.2.0, rolled back"), "{got}");
    let error = versions.rollback().unwrap_err().to_string();
    assert!(error.contains("hostel cli use"), "{error}");

    versions.use_version(&two).unwrap();
    assert_eq!(shown(versions), ["2.2.0*+", "2.1.0+"]);
}

#[test]
fn a_failed_canary_takes_nothing_from_a_version_in_use() {
    let store = Store::with(&["2.1.0"]);
    store.versions.curate().unwrap();
    let report = canary(None, Some("start: the disk was full"));
    assert!(store.versions.judge(&version("2.1.0"), report).unwrap());
    assert_eq!(shown(&store.versions), ["2.1.0*+"]);
}

#[test]
fn an_older_version_is_offered_beside_the_default() {
    let store = Store::with(&["2.1.0"]);
    store.versions.curate().unwrap();
    store.add("2.0.9");
    let old = version("2.0.9");
    assert!(!store.versions.judge(&old, canary(None, None)).unwrap());
    assert_eq!(shown(&store.versions), ["2.1.0*+", "2.0.9+"]);
}

#[test]
fn a_rollback_passes_over_what_is_gone() {
    let store = Store::with(&["2.0.0", "2.1.0", "2.2.0"]);
    let versions = &store.versions;
    for number in ["2.0.0", "2.1.0", "2.2.0"] {
        versions.use_version(&version(number)).unwrap();
    }
    versions.remove(&version("2.1.0"), false).unwrap();
    let (from, to) = versions.rollback().unwrap();
    assert_eq!((from, to), (version("2.2.0"), version("2.0.0")));
}

#[test]
fn a_store_that_was_emptied_begins_anew() {
    let store = Store::with(&["2.1.0"]);
    store.versions.curate().unwrap();
    store.versions.remove(&version("2.1.0"), true).unwrap();
    store.add("2.2.0");
    assert_eq!(shown(&store.versions), ["2.2.0*+"]);
}

#[test]
fn a_file_of_somebody_else_is_an_error_that_says_what_it_decides() {
    let store = Store::with(&["2.0.0"]);
    fs::write(store.versions.dir.join("offers.json"), "newest").unwrap();
    let error = store.versions.list().unwrap_err().to_string();
    assert!(
        error.contains("offers.json") && error.contains("offered"),
        "{error}"
    );
}

#[tokio::test]
async fn a_named_version_that_is_there_needs_no_registry() {
    let store = Store::with(&["2.0.0"]);
    let nowhere = registry("http://127.0.0.1:9/");
    let install = |text| {
        let requirement = req(text);
        let versions = store.versions.clone();
        let nowhere = &nowhere;
        async move { versions.install(nowhere, Some(&requirement), |_| {}).await }
    };
    assert_eq!(install("=2.0.0").await.unwrap().version, version("2.0.0"));
    assert!(install("^2").await.is_err());
}

/// The body of a child in the test below: upgrades and rolls back for ever; alone it does nothing.
#[test]
fn child_changes() {
    let Ok(dir) = std::env::var("TEST_CHILD_CHANGES") else {
        return;
    };
    let versions = Versions::open(dir.into()).unwrap();
    loop {
        let _ = versions.judge(&version("2.2.0"), canary(Some("2.1.0"), None));
        let _ = versions.rollback();
        let _ = versions.remove(&version("2.0.0"), true);
        let home = versions.dir.join("2.0.0");
        let _ = fs::create_dir(&home);
        let _ = fs::write(home.join(EXECUTABLE), CONTENT);
    }
}

/// A small generator, so that a failure can be repeated with its seed.
fn moments() -> impl FnMut() -> Duration {
    let seed = std::env::var("HOSTEL_TEST_SEED").ok();
    let mut state: u64 = seed.map_or_else(
        || u64::from(std::process::id()),
        |text| text.parse().unwrap(),
    );
    println!("HOSTEL_TEST_SEED={state}");
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Duration::from_micros((state >> 33) % 3_000)
    }
}

#[test]
fn a_store_that_was_left_at_any_moment_works() {
    let store = Store::with(&["2.0.0", "2.1.0", "2.2.0"]);
    let versions = &store.versions;
    versions.use_version(&version("2.1.0")).unwrap();
    versions.curate().unwrap();
    let mut moment = moments();
    for _ in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "versions::tests::changes::child_changes"])
            .env("TEST_CHILD_CHANGES", &versions.dir)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let before = fs::read(versions.dir.join("offers.json")).unwrap();
        let started = std::time::Instant::now();
        while fs::read(versions.dir.join("offers.json")).is_ok_and(|now| now == before)
            && started.elapsed() < WAIT
        {
            std::thread::yield_now();
        }
        let until = std::time::Instant::now() + moment();
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        kill(
            Pid::from_raw(child.id().try_into().unwrap()),
            Signal::SIGKILL,
        )
        .unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));

        let opened = Versions::open(versions.dir.clone()).unwrap();
        let list = opened.list().unwrap();
        assert_eq!(list.iter().filter(|one| one.default).count(), 1, "{list:?}");
        assert_eq!(list[1].version, version("2.1.0"));
        assert_eq!(list[1].standing, Standing::Offered);
        opened.resolve(Some(&req("^2"))).unwrap();
        let left = store.content();
        assert!(
            !left.iter().any(|name| name.starts_with(STAGING)),
            "{left:?}"
        );
    }
}
