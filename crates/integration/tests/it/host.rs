//! A host that lacks something: room, an address, a directory of one's own, a runtime. The server
//! says what, and loses nothing that it acknowledged.

use integration::disk::Disk;
use integration::{Agent, Session, Setup, World};
use serde_json::{Value, json};

#[tokio::test]
async fn a_full_disk_is_told_nothing_acknowledged_is_lost_and_it_goes_on_with_room() {
    if !is_root() {
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
    // One that works on when the disk fills, and one that collects messages behind a question.
    let works = world.session(&Agent::free()).await;
    works.turn("@say first").await.answered("first");
    let collects = world.session(&Agent::asking()).await;
    let asks = "@tool Bash {\"command\":\"true\"}\n@say never";
    assert_eq!(collects.turn(asks).await.stop_reason(), "requires_action");
    works.say("@slow 50\n@repeat 60 word").await;
    works.event("event_delta").await;
    disk.fill();
    let ballast = "x".repeat(64 << 10);
    let (mut kept, mut refused) = (Vec::new(), None);
    while refused.is_none() && kept.len() < 900 {
        let message = collects.message(&format!("{ballast}\n@say never"));
        let answer = collects.send(&json!([message])).await;
        match answer.status.is_success() {
            true => kept.push(answer.json()["data"][0]["id"].clone()),
            false => refused = Some(answer),
        }
    }
    let refused = refused.expect("a disk that is full takes nothing for ever");
    let told = "nothing was stored: no space is left for the database";
    refused.refused(529, "overloaded_error", told);
    assert_eq!(
        waiting(&collects).await,
        kept,
        "reading goes on, and all acknowledged is there"
    );
    disk.empty();
    let turn = works.idle().await;
    turn.answered(&["word"; 60].join(" "));
    works.turn("@say room again").await.answered("room again");
    world.remembered(&works);
    assert_eq!(waiting(&collects).await, kept);
    collects.delete().await.ok();
    world.end().await;
    drop(disk);
}

/// The ids of messages that the session has not begun, in their order.
async fn waiting(session: &Session) -> Vec<Value> {
    let events = session.list().await;
    let events = events
        .iter()
        .map(|event| serde_json::from_str::<Value>(event).unwrap());
    let queued = events.filter(|event| event["processed_at"].is_null());
    queued.map(|event| event["id"].clone()).collect()
}

fn is_root() -> bool {
    let root = std::fs::metadata("/proc/self")
        .is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    if !root {
        integration::skip("mounting a disk needs root");
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
            return integration::skip("youki is installed here");
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
