//! What has outlived its time, and what is nobody's.

use std::fs::File;
use std::time::{Duration, SystemTime};

use chrono::TimeDelta;
use serde_json::json;
use store::{FileRow, NewSnapshot, Write};

use crate::world::World;

const WS: &str = store::DEFAULT_WORKSPACE;

/// A session whose environment keeps things as `retention` says.
async fn session(world: &World, retention: serde_json::Value) -> String {
    let hosting = json!({"retention": retention});
    let request = json!({"name": "e", "config": {"type": "cloud", "hosting": hosting}});
    let environment = world.post("/v1/environments", request).await.ok();
    let request = json!({"agent": world.agent().await, "environment_id": environment["id"]});
    let session = world.post("/v1/sessions", request).await.ok();
    session["id"].as_str().unwrap().to_owned()
}

async fn put(world: &World, session: &str, id: &str) {
    std::fs::create_dir_all(world.blobs.dir()).unwrap();
    std::fs::write(world.blobs.path(id), "x").unwrap();
    let row = FileRow {
        id: id.to_owned(),
        workspace_id: WS.to_owned(),
        session_id: Some(session.to_owned()),
        filename: "f".to_owned(),
        mime_type: "text/plain".to_owned(),
        size_bytes: 1,
        sha256: [0; 32],
        created_at: world.clock.now(),
        downloadable: true,
    };
    world.store.files().insert(row).await.unwrap();
}

async fn snapshot(world: &World, session: &str) -> String {
    let id = world.save(session).await;
    let fence = world.store.sessions().claim(session, "test").await.unwrap();
    let row = NewSnapshot {
        id: id.clone(),
        created_at: world.clock.now(),
        files: 1,
        bytes: 1,
        written: 1,
    };
    let events = world.store.events();
    let writes = vec![Write::Snapshot(row)];
    events.commit(session, fence, writes).await.unwrap();
    id
}

#[tokio::test]
async fn an_ended_session_goes_with_all_that_belongs_to_it() {
    let world = World::new().await;
    let ended = session(&world, json!({"sessions": "1h"})).await;
    let living = session(&world, json!({"sessions": "1h"})).await;
    put(&world, &ended, "file_1").await;
    snapshot(&world, &ended).await;
    let path = format!("/v1/sessions/{ended}");
    world.post_nothing(&format!("{path}/archive")).await.ok();
    world.clock.advance(TimeDelta::minutes(59));
    world.sessions.sweep(1).await;
    world.get(&path).await.ok();
    world.clock.advance(TimeDelta::minutes(1));
    world.sessions.sweep(1).await;
    world
        .get(&path)
        .await
        .refuses(404, "not_found_error", &ended);
    world.get(&format!("/v1/sessions/{living}")).await.ok();
    assert!(!world.blobs.path("file_1").exists());
    assert!(world.snapshots.lines().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_deleted_session_leaves_nothing_on_disk() {
    let world = World::new().await;
    let id = world.session().await;
    put(&world, &id, "file_1").await;
    snapshot(&world, &id).await;
    world.delete(&format!("/v1/sessions/{id}")).await.ok();
    assert!(!world.blobs.path("file_1").exists());
    assert!(world.snapshots.lines().await.unwrap().is_empty());
    let file = world.get("/v1/files/file_1").await;
    file.refuses(404, "not_found_error", "file_1");
}

#[tokio::test]
async fn old_files_and_snapshots_go_but_the_newest_snapshot_stays() {
    let world = World::new().await;
    let id = session(&world, json!({"files": "1h", "snapshots": "1h"})).await;
    put(&world, &id, "file_1").await;
    snapshot(&world, &id).await;
    let newest = snapshot(&world, &id).await;
    world.clock.advance(TimeDelta::minutes(30));
    put(&world, &id, "file_2").await;
    world.sessions.sweep(1).await;
    assert_eq!(world.store.snapshots().list(&id).await.unwrap().len(), 2);
    assert!(world.blobs.path("file_1").exists());
    world.clock.advance(TimeDelta::minutes(30));
    world.sessions.sweep(1).await;
    let file = world.get("/v1/files/file_1").await;
    file.refuses(404, "not_found_error", "file_1");
    assert!(!world.blobs.path("file_1").exists());
    assert!(world.blobs.path("file_2").exists());
    let left = world.store.snapshots().list(&id).await.unwrap();
    let left: Vec<&str> = left.iter().map(|row| row.snapshot.id.as_str()).collect();
    assert_eq!(left, [newest.as_str()]);
    // Its content is whole.
    let newest = newest.parse().unwrap();
    world.snapshots.fork(&id, &newest, "copy").await.unwrap();
}

#[tokio::test]
async fn what_is_nobodys_is_removed_and_nothing_else() {
    let world = World::new().await;
    let id = world.session().await;
    put(&world, &id, "file_1").await;
    snapshot(&world, &id).await;
    world.save("sesn_gone").await;
    let age = |name: &str| {
        let path = world.blobs.path(name);
        let file = File::options()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        let before = SystemTime::now() - Duration::from_secs(3600);
        file.set_modified(before).unwrap();
    };
    age("file_1");
    age("file_gone");
    std::fs::write(world.blobs.path("file_new"), "x").unwrap();
    // Only some rounds look at the disk.
    world.sessions.sweep(1).await;
    assert!(world.blobs.path("file_gone").exists());
    world.sessions.sweep(0).await;
    assert!(!world.blobs.path("file_gone").exists());
    assert!(world.blobs.path("file_1").exists());
    assert!(world.blobs.path("file_new").exists());
    assert_eq!(world.snapshots.lines().await.unwrap(), [id]);
}
