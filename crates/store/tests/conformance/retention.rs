//! What has outlived its time.

use std::time::Duration;

use store::*;

use crate::fixture::*;

/// Changes how long `env_1` keeps things, in microseconds.
async fn keep(bed: &Bed, sessions: Option<u64>, snapshots: Option<u64>, files: Option<u64>) {
    let keep = Keep {
        sessions: sessions.map(Duration::from_micros),
        snapshots: snapshots.map(Duration::from_micros),
        files: files.map(Duration::from_micros),
    };
    let environments = bed.store.environments();
    environments
        .update(&MINE, "env_1", None, "{}".to_owned(), keep, at(2))
        .await
        .unwrap();
}

async fn expired(bed: &Bed, now: i64) -> Vec<String> {
    let rows = bed.store.sessions().expired(at(now), 10).await.unwrap();
    rows.into_iter().map(|(_, id)| id).collect()
}

#[tokio::test]
async fn a_session_expires_after_its_end_and_never_before() {
    let bed = Bed::new().await;
    for id in ["archived", "terminated", "idle"] {
        let row = session(id);
        bed.store.sessions().create(row, Vec::new()).await.unwrap();
    }
    let sessions = bed.store.sessions();
    let fence = bed.claim("terminated").await;
    let over = |at| Write::Status {
        status: Status::Terminated,
        attention: false,
        updated_at: at,
    };
    let commit = async |write| {
        let events = bed.store.events();
        events
            .commit("terminated", fence, vec![write])
            .await
            .unwrap();
    };
    commit(over(at(100))).await;
    // Its end is the first one, whatever comes later.
    commit(over(at(150))).await;
    sessions
        .archive(&MINE, "terminated", at(180))
        .await
        .unwrap();
    sessions.archive(&MINE, "archived", at(200)).await.unwrap();
    assert!(expired(&bed, i64::MAX / 4).await.is_empty());
    keep(&bed, Some(50), None, None).await;
    assert!(expired(&bed, 149).await.is_empty());
    assert_eq!(expired(&bed, 150).await, ["terminated"]);
    let all = sessions.expired(at(250), 10).await.unwrap();
    assert!(all.iter().all(|(realm, _)| *realm == *MINE));
    assert_eq!(
        expired(&bed, i64::MAX / 4).await,
        ["archived", "terminated"]
    );
    assert_eq!(sessions.expired(at(250), 1).await.unwrap().len(), 1);
    // The environment's newest word counts.
    keep(&bed, None, None, None).await;
    assert!(expired(&bed, 250).await.is_empty());
    let asked = ["idle", "other"].map(str::to_owned).to_vec();
    assert_eq!(sessions.absent(asked).await.unwrap(), ["other"]);
}

#[tokio::test]
async fn an_endless_retention_does_not_overflow() {
    let bed = Bed::with_session("s").await;
    bed.store
        .sessions()
        .archive(&MINE, "s", at(9))
        .await
        .unwrap();
    let keep = Keep {
        sessions: Some(Duration::MAX),
        ..Keep::default()
    };
    let environments = bed.store.environments();
    environments
        .update(&MINE, "env_1", None, "{}".to_owned(), keep, at(2))
        .await
        .unwrap();
    assert!(expired(&bed, 1_000_000).await.is_empty());
}

#[tokio::test]
async fn old_snapshots_expire_but_never_the_newest_nor_content_that_is_used_again() {
    let bed = Bed::with_session("s").await;
    let fence = bed.claim("s").await;
    for (number, id) in ["a", "b", "c", "b"].into_iter().enumerate() {
        let snapshot = NewSnapshot {
            id: id.to_owned(),
            created_at: at(10 + number as i64),
            files: 0,
            bytes: 0,
            written: 0,
        };
        let writes = vec![append(&format!("e{number}")), Write::Snapshot(snapshot)];
        bed.store.events().commit("s", fence, writes).await.unwrap();
    }
    let expired = async |now: i64| -> Vec<String> {
        let rows = bed.store.snapshots().expired(at(now), 0, 10).await.unwrap();
        rows.into_iter().map(|row| row.snapshot.id).collect()
    };
    assert!(expired(1000).await.is_empty());
    keep(&bed, None, Some(100), None).await;
    assert!(expired(109).await.is_empty());
    assert_eq!(expired(110).await, ["a"]);
    assert_eq!(expired(1000).await, ["a", "c"]);
    let rest = bed.store.snapshots().expired(at(1000), 1, 10).await;
    assert_eq!(rest.unwrap().len(), 1);
}

#[tokio::test]
async fn files_expire_by_their_age() {
    let bed = Bed::with_session("s").await;
    for (id, session_id, created) in [("a", Some("s"), 10), ("b", Some("s"), 20), ("c", None, 10)] {
        let row = FileRow {
            id: id.to_owned(),
            workspace_id: WS.to_owned(),
            session_id: session_id.map(str::to_owned),
            filename: id.to_owned(),
            mime_type: "text/plain".to_owned(),
            size_bytes: 0,
            sha256: [0; 32],
            created_at: at(created),
            downloadable: true,
        };
        bed.store.files().insert(row).await.unwrap();
    }
    let expired = async |now: i64| -> Vec<String> {
        let rows = bed.store.files().expired(at(now), 10).await.unwrap();
        rows.into_iter().map(|row| row.id).collect()
    };
    assert!(expired(1000).await.is_empty());
    keep(&bed, None, None, Some(100)).await;
    assert_eq!(expired(110).await, ["a"]);
    assert_eq!(expired(1000).await, ["a", "b"]);
}
