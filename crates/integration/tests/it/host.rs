//! A host that lacks something: room, an address, a directory of one's own, a runtime. The server
//! says what, and loses nothing that it acknowledged.

use integration::disk::Disk;
use integration::{Agent, Setup, World};
use serde_json::json;

#[tokio::test]
async fn a_full_disk_is_told_nothing_acknowledged_is_lost_and_it_goes_on_with_room() {
    if !nix_root() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let disk = Disk::new(home.path().join("disk"), 200);
    let setup = Setup::default()
        .data(&disk.path().join("data"))
        .set("sandbox.disk_mib", 64);
    let Some(world) = setup.start().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    session.turn("@say first").await.answered("first");
    disk.fill();
    let ballast = "x".repeat(64 << 10);
    let mut refused = None;
    for number in 0..200 {
        let message = session.message(&format!("{ballast}\n@say {number}"));
        let answer = session.send(&json!([message])).await;
        if !answer.status.is_success() {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a disk that is full takes nothing for ever");
    refused.refused(
        529,
        "overloaded_error",
        "nothing was stored: no space is left for the database",
    );
    // Reading goes on meanwhile.
    assert!(!session.list().await.is_empty());
    disk.empty();
    session.say("@say room again").await;
    session
        .find("the last answer", |frame| {
            frame.event == "agent.message" && frame.data.contains("room again")
        })
        .await;
    session
        .find("an end", |frame| frame.event == "session.status_idle")
        .await;
    world.end().await;
    drop(disk);
}

fn nix_root() -> bool {
    let root = std::fs::metadata("/proc/self")
        .is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    if !root {
        integration::world::skip("mounting a disk needs root");
    }
    root
}

#[tokio::test]
async fn a_taken_address_and_a_directory_in_use_are_told() {
    let Some(world) = World::new().await else {
        return;
    };
    let address = world.client.authority();
    let refused = world.rival(&address).await;
    assert!(!refused.status.success());
    assert!(
        refused.log.contains(&format!("cannot listen on {address}")),
        "{}",
        refused.log
    );
    let refused = world.rival("127.0.0.1:0").await;
    assert!(!refused.status.success());
    let told = format!(
        "the data directory is in use by another server (process {})",
        world.server().pid
    );
    assert!(refused.log.contains(&told), "{}", refused.log);
    // The one that was there first has not noticed.
    let session = world.session(&Agent::free()).await;
    session.turn("@say fine").await.answered("fine");
    world.end().await;
}

async fn refused_with(key: &str, value: &str, told: &[&str]) {
    let Some(started) = Setup::default().set(key, value).try_start().await else {
        return;
    };
    let Err(refused) = started else {
        panic!("it started with {key}={value}")
    };
    assert!(!refused.status.success());
    for told in told {
        assert!(refused.log.contains(told), "{told:?} in {}", refused.log);
    }
}

#[tokio::test]
async fn a_runtime_that_is_not_there_is_named_and_not_replaced() {
    for place in ["/usr/bin/youki", "/usr/sbin/youki", "/usr/local/bin/youki"] {
        if std::path::Path::new(place).exists() {
            return integration::world::skip("youki is installed here");
        }
    }
    refused_with(
        "sandbox.runtime",
        "youki",
        &["the runtime youki cannot be used: it is not installed"],
    )
    .await;
    refused_with(
        "sandbox.runtime",
        "nonexistent",
        &["sandbox.runtime", "nonexistent"],
    )
    .await;
}

#[tokio::test]
async fn a_wrong_setting_is_named() {
    refused_with(
        "sandbox.colour",
        "red",
        &["there is no setting sandbox.colour"],
    )
    .await;
    refused_with(
        "sandbox.pids",
        "none",
        &["sandbox.pids", "must be a whole number"],
    )
    .await;
    refused_with(
        "sandbox.rootfs",
        "/no/such/place",
        &["sandbox.rootfs", "/no/such/place"],
    )
    .await;
}
