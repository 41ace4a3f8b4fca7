//! Opening, the lock, foreign and newer files, a torn log.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;
use store::*;

use crate::fixture::*;

#[tokio::test]
async fn a_new_directory_is_made_for_this_user_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    let store = Store::open(&path).unwrap();
    store.ping().await.unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for file in ["hostel.db", "hostel.db-wal", "hostel.db-shm", "lock"] {
        assert_eq!(mode(&path.join(file)), 0o600, "{file}");
    }
}

#[test]
fn a_second_opening_is_told_who_has_it_until_the_first_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path()).unwrap();
    let second = Store::open(dir.path());
    let pid = std::process::id();
    assert!(matches!(second, Err(OpenError::InUse { pid: Some(found) }) if found == pid));
    drop(first);
    assert!(Store::open(dir.path()).is_ok());
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let file = dir.path().join("hostel.db");
    Connection::open(&file)
        .unwrap()
        .pragma_update(None, "user_version", 9999)
        .unwrap();
    let before = fs::read(&file).unwrap();
    let refused = Store::open(dir.path());
    assert!(matches!(refused, Err(OpenError::Newer { found: 9999, .. })));
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_foreign_or_damaged_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hostel.db");
    Connection::open(&file)
        .unwrap()
        .execute_batch("CREATE TABLE theirs (a)")
        .unwrap();
    assert!(matches!(
        Store::open(dir.path()),
        Err(OpenError::Foreign { .. })
    ));
    fs::write(
        &file,
        "not a database, but long enough to have a header".repeat(100),
    )
    .unwrap();
    assert!(matches!(
        Store::open(dir.path()),
        Err(OpenError::Store(StoreError::Damaged(_)))
    ));
}

#[tokio::test]
async fn a_torn_tail_of_the_log_file_costs_only_the_torn_commit() {
    let bed = Bed::with_session("s").await;
    let fence = bed.claim("s").await;
    for number in 1..=20 {
        bed.store
            .events()
            .commit("s", fence, vec![append(&format!("e{number}"))])
            .await
            .unwrap();
    }
    let mut log = fs::read(bed.dir.path().join("hostel.db-wal")).unwrap();
    // Behind the last frame (a page with a header of 24 bytes, after the file's 32) are only zeros.
    let used = log.iter().rposition(|byte| *byte != 0).unwrap();
    log.truncate(32 + (used - 32).div_ceil(4096 + 24) * (4096 + 24));
    // Cut in the last frame, a last frame of garbage, and one whose second half never came.
    let end = log.len();
    let (mut garbage, mut half) = (log.clone(), log.clone());
    garbage[end - 3000..].fill(0xa5);
    half[end - 2000..].fill(0);
    half.resize(end + 8240, 0);
    for torn in [&log[..end - 2000], &garbage, &half] {
        let copy = tempfile::tempdir().unwrap();
        fs::copy(
            bed.dir.path().join("hostel.db"),
            copy.path().join("hostel.db"),
        )
        .unwrap();
        fs::write(copy.path().join("hostel.db-wal"), torn).unwrap();
        let store = Store::open(copy.path()).unwrap();
        let events = store.events().tail("s", 0, 100).await.unwrap();
        assert_eq!(
            events.iter().map(|event| event.seq).collect::<Vec<_>>(),
            (1..=19).collect::<Vec<_>>()
        );
        let fence = store.sessions().claim("s", "next").await.unwrap();
        let next = store
            .events()
            .commit("s", fence, vec![append("next")])
            .await
            .unwrap();
        assert_eq!(next[0].seq, 20);
    }
}

#[tokio::test]
async fn dropping_finishes_what_is_queued() {
    let Bed { store, dir } = Bed::with_session("s").await;
    let fence = store.sessions().claim("s", "one").await.unwrap();
    {
        // Polled once, so that it is queued, and then forgotten.
        let commit = store.events().commit("s", fence, vec![append("a")]);
        tokio::pin!(commit);
        std::future::poll_fn(|context| {
            let _ = commit.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
    }
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.events().last_seq("s").await.unwrap(), 1);
}

#[tokio::test]
async fn a_database_of_the_first_schema_is_brought_up_with_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hostel.db");
    let connection = Connection::open(&file).unwrap();
    connection
        .execute_batch(include_str!("../../migrations/0001_initial.sql"))
        .unwrap();
    connection
        .execute_batch(
            "INSERT INTO agents VALUES (1, 'agent_1', 'wrkspc_default', 1, 1, NULL);
             INSERT INTO agent_versions VALUES ('agent_1', 1, 1, '{}');
             INSERT INTO environments VALUES (1, 'env_1', 'wrkspc_default', 1, '{}', 1, 1, NULL);
             INSERT INTO sessions VALUES (1, 's', 'wrkspc_default', 'agent_1', 1, '{}', 'env_1', '{}', NULL, '{}', NULL, 1, NULL);
             INSERT INTO sessions VALUES (2, 'over', 'wrkspc_default', 'agent_1', 1, '{}', 'env_1', '{}', NULL, '{}', NULL, 1, NULL);
             INSERT INTO session_state VALUES ('s', 'idle', 0, 0, NULL, 'c', '{}', '{}', 1);
             INSERT INTO session_state VALUES ('over', 'terminated', 0, 0, NULL, 'c', '{}', '{}', 7);
             INSERT INTO transcripts VALUES (1, 's', '', 'u', 'line');
             INSERT INTO model_calls VALUES (1, 'm', 's', 'wrkspc_default', 'x', 5, 200, 1, 1, 1, 2, 3, 4, 5, 6, NULL, NULL);
             INSERT INTO model_calls VALUES (2, 'n', 's', 'wrkspc_default', 'x', 5, 200, 1, 1, 1, 2, 3, 4, 5, NULL, 'cut', NULL);
             INSERT INTO keys VALUES ('apikey_1', 'wrkspc_default', zeroblob(32), 'hostel_ab', 3);
             PRAGMA application_id = 0x686f7374; PRAGMA user_version = 1;",
        )
        .unwrap();
    drop(connection);
    let store = Store::open(dir.path()).unwrap();
    let [key] = &*store.keys().candidates(&[0; 32]).await.unwrap() else {
        panic!("the key of before is gone");
    };
    assert_eq!((key.scope.as_str(), key.created_at), ("admin", at(3)));
    assert_eq!((key.workspace_id.as_str(), key.expires_at), (WS, None));
    let lines = store.transcripts().load("s").await.unwrap();
    assert_eq!(lines, [(String::new(), vec!["line".to_owned()])]);
    let day = store
        .usage()
        .spent_since(WS, Some("agent_1"), at(0))
        .await
        .unwrap();
    assert_eq!(day, store.usage().totals("s").await.unwrap());
    assert_eq!((day.calls, day.unpriced, day.cost_microcents), (2, 1, 6));
    let keep = Keep {
        sessions: Some(std::time::Duration::from_micros(3)),
        ..Keep::default()
    };
    store
        .environments()
        .update(&MINE, "env_1", None, "{}".to_owned(), keep, at(8))
        .await
        .unwrap();
    let sessions = store.sessions();
    assert!(sessions.expired(at(9), 10).await.unwrap().is_empty());
    assert_eq!(
        sessions.expired(at(10), 10).await.unwrap(),
        [(MINE.clone(), "over".to_owned())]
    );
}
