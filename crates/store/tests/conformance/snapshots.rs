//! Which snapshots a session has.

use store::*;

use crate::fixture::*;

fn snapshot(id: &str, created: i64) -> NewSnapshot {
    NewSnapshot {
        id: id.to_owned(),
        created_at: at(created),
        files: 3,
        bytes: 4,
        written: 5,
    }
}

fn ids(rows: Vec<SnapshotRow>) -> Vec<(String, i64)> {
    rows.into_iter()
        .map(|row| (row.snapshot.id, row.seq))
        .collect()
}

/// A session with `a` after event 1, `b` after 3 and `a` again after 4.
async fn bed() -> Bed {
    let bed = Bed::with_session("s").await;
    let fence = bed.claim("s").await;
    let commit = async |writes| bed.store.events().commit("s", fence, writes).await.unwrap();
    // Wherever it stands in a commit, it includes all of it.
    commit(vec![Write::Snapshot(snapshot("a", 10)), append("1")]).await;
    commit(vec![
        append("2"),
        append("3"),
        Write::Snapshot(snapshot("b", 20)),
    ])
    .await;
    commit(vec![append("4"), Write::Snapshot(snapshot("a", 30))]).await;
    bed
}

#[tokio::test]
async fn a_snapshot_includes_the_log_up_to_its_commit() {
    let bed = bed().await;
    let snapshots = bed.store.snapshots();
    let all = snapshots.list("s").await.unwrap();
    assert_eq!(
        all[1],
        SnapshotRow {
            number: 2,
            session_id: "s".to_owned(),
            seq: 3,
            snapshot: snapshot("b", 20),
        }
    );
    assert_eq!(
        ids(all),
        [
            ("a".to_owned(), 1),
            ("b".to_owned(), 3),
            ("a".to_owned(), 4)
        ]
    );
    for (seq, found) in [
        (0, None),
        (1, Some(("a", 1))),
        (2, Some(("a", 1))),
        (3, Some(("b", 3))),
        (9, Some(("a", 4))),
    ] {
        let row = snapshots.at("s", seq).await.unwrap();
        let row = row.as_ref().map(|row| (row.snapshot.id.as_str(), row.seq));
        assert_eq!(row, found);
    }
    let latest = snapshots.latest("s").await.unwrap().unwrap();
    assert_eq!(latest.seq, 4);
    assert_eq!(snapshots.latest("t").await.unwrap(), None);
}

#[tokio::test]
async fn a_refused_commit_keeps_no_snapshot() {
    let bed = Bed::with_session("s").await;
    let fence = bed.claim("s").await;
    let writes = vec![Write::Snapshot(snapshot("a", 10)), process("absent")];
    assert!(bed.store.events().commit("s", fence, writes).await.is_err());
    assert!(bed.store.snapshots().list("s").await.unwrap().is_empty());
}

#[tokio::test]
async fn pruning_keeps_what_is_named_and_deletion_everything_else_s() {
    let bed = bed().await;
    let snapshots = bed.store.snapshots();
    let keep = |id: &str| vec![id.to_owned()];
    // What is newer than all that is kept was added by somebody else meanwhile.
    assert_eq!(snapshots.prune("s", keep("b")).await.unwrap(), 1);
    let left = ids(snapshots.list("s").await.unwrap());
    assert_eq!(left, [("b".to_owned(), 3), ("a".to_owned(), 4)]);
    assert_eq!(snapshots.prune("s", keep("gone")).await.unwrap(), 0);
    assert_eq!(snapshots.prune("s", keep("a")).await.unwrap(), 1);
    let left = ids(snapshots.list("s").await.unwrap());
    assert_eq!(left, [("a".to_owned(), 4)]);
    assert_eq!(snapshots.prune("t", Vec::new()).await.unwrap(), 0);
    bed.store.sessions().delete(&MINE, "s").await.unwrap();
    assert!(snapshots.list("s").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_common_directory_has_one_last_snapshot_which_is_nobodys_garbage() {
    let bed = Bed::with_session("s").await;
    let snapshots = bed.store.snapshots();
    let environment: String = "env_1".to_owned();
    assert_eq!(snapshots.common(&environment).await.unwrap(), None);
    for id in ["a", "b"] {
        snapshots
            .keep_common(&environment, id, at(10))
            .await
            .unwrap();
    }
    let last = snapshots.common(&environment).await.unwrap();
    assert_eq!(last.as_deref(), Some("b"));
    snapshots.keep_common("gone", "a", at(10)).await.unwrap();
    assert_eq!(snapshots.common("gone").await.unwrap(), None);
    let lines = vec![environment, "gone".to_owned()];
    let absent = bed.store.sessions().absent(lines).await.unwrap();
    assert_eq!(absent, ["gone"]);
}
