//! Whoever ends first, nothing is left.

use std::process::ExitStatus;

use sandbox::{
    Provider, ProviderError,
    keeper::{BeginError, Kept, Remote},
    oci::RuntimeChoice,
};
use tokio::io::AsyncReadExt;

use crate::world::{World, config, id, is_root, keep, out, spec, until};

/// A keeper with a data directory of its own, begun.
pub struct Pair {
    pub world: World,
    pub process: std::process::Child,
    pub remote: std::sync::Arc<Remote>,
}

impl Pair {
    /// None, with a printed reason, where sandboxes cannot be made.
    pub async fn new() -> Option<Self> {
        if !is_root() {
            return None;
        }
        let data = tempfile::tempdir().unwrap();
        let Kept { socket, process } = keep(&config(data.path()));
        let remote = std::sync::Arc::new(Remote::begin(socket).await.unwrap());
        let world = World {
            provider: remote.clone(),
            data,
        };
        Some(Self {
            world,
            process,
            remote,
        })
    }

    /// Waits until the keeper has ended by itself.
    pub async fn ended(process: &mut std::process::Child) -> ExitStatus {
        let mut status = None;
        until("the end of the keeper", || {
            status = process.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }
}

/// Nothing of this data directory runs, is mounted or lies there.
fn nothing_is_left(data: &std::path::Path) {
    let name = data.to_str().unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(name));
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains(name), "{line:?}");
    }
    let left = std::fs::read_dir(data.join("sandboxes")).unwrap().count();
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keeper_ends_with_its_server_and_takes_everything_along() {
    let Some(mut pair) = Pair::new().await else {
        return;
    };
    let mut running = pair.world.create("running").await;
    assert_eq!(out(&mut running, "echo ready").await, "ready");
    let frozen = pair.world.create("frozen").await;
    pair.remote.freeze(&id("frozen"), None).await.unwrap();
    let pids = [pair.world.pid("running"), pair.world.pid("frozen")];
    // What the kernel does with the descriptors of a server that is killed.
    let World { provider, data } = pair.world;
    drop((running, frozen, provider, pair.remote));
    let status = Pair::ended(&mut pair.process).await;
    assert!(status.success(), "{status}");
    for pid in pids {
        assert!(!std::fs::exists(format!("/proc/{pid}")).unwrap());
    }
    nothing_is_left(data.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_told_that_its_keeper_was_killed_and_waits_for_nothing() {
    let Some(mut pair) = Pair::new().await else {
        return;
    };
    let mut sandbox = pair.world.create("orphan").await;
    pair.process.kill().unwrap();
    pair.process.wait().unwrap();
    pair.remote.lost().await;
    let refused = pair.remote.list().await;
    assert!(matches!(refused, Err(ProviderError::Host { .. })));
    let refused = pair.remote.create(&spec("next")).await;
    assert!(matches!(refused, Err(ProviderError::Host { .. })));
    // The link is the server's own: what runs can still be spoken to, and ends with it.
    assert_eq!(out(&mut sandbox, "echo here").await, "here");
    let pid = pair.world.pid("orphan");
    drop(sandbox);
    until("the end of the sandbox", || {
        !std::fs::exists(format!("/proc/{pid}")).unwrap()
    })
    .await;
    // The next server finds the rest.
    let later = World::again(pair.world.data).await;
    later.provider.destroy(&id("orphan")).await.unwrap();
    later.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_keeper_waits_until_the_first_has_cleared_away() {
    let Some(pair) = Pair::new().await else {
        return;
    };
    let mut sandbox = pair.world.create("first").await;
    assert_eq!(out(&mut sandbox, "echo ready").await, "ready");
    let World { provider, data } = pair.world;
    drop((provider, pair.remote));
    // The first is still at it, or has just ended.
    let later = World::again(data).await;
    assert_eq!(later.provider.list().await.unwrap(), []);
    let mut rest = Vec::new();
    sandbox.stream.read_to_end(&mut rest).await.unwrap();
    later.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_cannot_make_sandboxes_says_why_and_ends() {
    if !is_root() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let mut impossible = config(data.path());
    impossible.runtime = RuntimeChoice::Named("docker".to_owned());
    let Kept {
        socket,
        mut process,
    } = keep(&impossible);
    match Remote::begin(socket).await {
        Err(BeginError::Refused(reason)) => assert!(reason.contains("docker"), "{reason}"),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it began"),
    }
    assert!(Pair::ended(&mut process).await.success());
}
