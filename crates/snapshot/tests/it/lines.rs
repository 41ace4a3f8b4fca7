//! Lines: forks that do not see each other, and collections that keep what lives.

use std::{fs, time::Duration};

use snapshot::{CollectError, ForkError, SnapshotId};
use tokio::io::AsyncWriteExt as _;

use crate::fixture::{Node, Store, Tree, key, noise};

fn tree(version: u64) -> Tree {
    let mut tree = Tree::default();
    tree.add("w", Node::Dir);
    for file in 0..40 {
        // Every version changes one of them.
        let changed = version / 40 + u64::from(version % 40 > file);
        tree.file(format!("w/f{file:02}"), noise(file * 1000 + changed, 3000));
    }
    tree
}

/// Saves versions one after the other.
async fn versions(store: &Store, line: &str, count: u64) -> Vec<SnapshotId> {
    let mut ids: Vec<SnapshotId> = Vec::new();
    for version in 0..count {
        let before = version.checked_sub(1).map(tree).unwrap_or_default();
        let source = tree(version).since(&before);
        let saved = store.save(line, ids.last(), &source).await.unwrap();
        ids.push(saved.id);
    }
    ids
}

/// Waits for a state that comes by itself.
async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let wait = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    waited.unwrap_or_else(|_| panic!("never came: {what}"));
}

fn bytes(store: &Store, line: &str) -> (usize, u64) {
    let entries = fs::read_dir(store.dir.path().join(line)).unwrap();
    let sizes: Vec<u64> = entries
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .collect();
    (sizes.len(), sizes.iter().sum())
}

#[tokio::test]
async fn forks_do_not_see_each_other() {
    let store = Store::new(Some(key()));
    let ids = versions(&store, "one", 3).await;
    store.snapshots.fork("one", &ids[1], "two").await.unwrap();
    store.snapshots.fork("one", &ids[1], "two").await.unwrap();
    store.snapshots.fork("one", &ids[1], "three").await.unwrap();
    assert_eq!(store.restore("two", &ids[1]).await.unwrap(), tree(1));
    assert!(
        store.restore("two", &ids[2]).await.is_err(),
        "what came later"
    );

    let mut mine = tree(1);
    mine.file("w/mine", "x");
    let saved = store
        .save("two", Some(&ids[1]), &mine.since(&tree(1)))
        .await
        .unwrap();
    assert!(saved.written < 16 * 1024, "{} bytes", saved.written);
    assert!(store.restore("three", &saved.id).await.is_err());
    assert!(store.restore("one", &saved.id).await.is_err());

    store.snapshots.remove_line("one").await.unwrap();
    store.snapshots.collect("three", &[]).await.unwrap();
    assert_eq!(store.restore("two", &ids[1]).await.unwrap(), tree(1));
    assert_eq!(store.restore("two", &saved.id).await.unwrap(), mine);
    let refused = store.snapshots.fork("three", &ids[1], "four").await;
    assert!(matches!(refused, Err(ForkError::Store(_))));
    let mut lines = store.snapshots.lines().await.unwrap();
    lines.sort();
    assert_eq!(lines, ["three", "two"]);
}

#[tokio::test]
async fn a_removed_line_is_gone_and_may_be_removed_again() {
    let store = Store::new(None);
    let ids = versions(&store, "one", 2).await;
    store.snapshots.remove_line("one").await.unwrap();
    store.snapshots.remove_line("one").await.unwrap();
    assert!(store.restore("one", &ids[0]).await.is_err());
    assert_eq!(store.snapshots.lines().await.unwrap(), Vec::<String>::new());
    assert_eq!(fs::read_dir(store.dir.path()).unwrap().count(), 0);
    // What a crash in the middle leaves, the next start removes.
    fs::create_dir_all(store.dir.path().join(".removed-two/x")).unwrap();
    snapshot::Snapshots::open(store.dir.path().to_owned(), None).unwrap();
    assert_eq!(fs::read_dir(store.dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_collection_keeps_what_lives_and_nothing_else() {
    for key in [None, Some(key())] {
        let store = Store::new(key);
        let ids = versions(&store, "one", 12).await;
        let kept = store.snapshots.collect("one", &ids).await.unwrap();
        assert_eq!((kept.removed, kept.freed), (0, 0), "all of it lives");
        let live = [ids[3], ids[11]];
        fs::write(store.dir.path().join("one/left.partial"), b"x").unwrap();
        store.snapshots.collect("one", &live).await.unwrap();
        assert_eq!(store.restore("one", &ids[3]).await.unwrap(), tree(3));
        assert_eq!(store.restore("one", &ids[11]).await.unwrap(), tree(11));
        assert!(!store.dir.path().join("one/left.partial").exists());
        let before = bytes(&store, "one");
        store.snapshots.collect("one", &live[1..]).await.unwrap();
        assert!(bytes(&store, "one").1 <= before.1);
        let gone = store.snapshots.collect("one", &[]).await.unwrap();
        assert!(gone.freed > 0);
        assert_eq!(bytes(&store, "one"), (0, 0));
    }
}

#[tokio::test]
async fn many_small_packs_become_one_and_dead_bytes_go() {
    let store = Store::new(Some(key()));
    let ids = versions(&store, "one", 60).await;
    assert_eq!(bytes(&store, "one").0, 60);
    let all = store.snapshots.collect("one", &ids).await.unwrap();
    assert_eq!((all.removed, bytes(&store, "one").0), (60, 1));
    for version in [0, 17, 59] {
        assert_eq!(
            store.restore("one", &ids[version as usize]).await.unwrap(),
            tree(version)
        );
    }
    // Most of the one pack is dead now.
    let live = [ids[59]];
    store.snapshots.collect("one", &live).await.unwrap();
    let (packs, size) = bytes(&store, "one");
    assert_eq!(packs, 1);
    assert!(size < 40 * 3000 + 40_000, "{size} bytes for one snapshot");
    assert_eq!(store.restore("one", &ids[59]).await.unwrap(), tree(59));
    // A snapshot that was rewritten is a parent like any other.
    let saved = store
        .save("one", Some(&ids[59]), &tree(60).since(&tree(59)))
        .await
        .unwrap();
    assert_eq!(store.restore("one", &saved.id).await.unwrap(), tree(60));
}

#[tokio::test]
async fn a_line_in_use_is_not_collected() {
    let store = Store::new(None);
    let ids = versions(&store, "one", 2).await;
    let (mut ours, theirs) = tokio::io::duplex(1 << 20);
    let snapshots = store.snapshots.clone();
    let saving = tokio::spawn(async move { snapshots.save("one", None, u64::MAX, theirs).await });
    ours.write_all(&tree(90).full()[..50_000]).await.unwrap();
    // Whether the save has begun is seen by what it writes.
    until("a third file", || bytes(&store, "one").0 == 3).await;
    let refused = store.snapshots.collect("one", &ids).await;
    assert!(matches!(refused, Err(CollectError::Busy)), "{refused:?}");
    ours.write_all(&tree(90).full()[50_000..]).await.unwrap();
    let saved = saving.await.unwrap().unwrap();
    store.snapshots.collect("one", &[saved.id]).await.unwrap();
    assert_eq!(store.restore("one", &saved.id).await.unwrap(), tree(90));
}

#[tokio::test]
async fn a_save_that_is_dropped_leaves_nothing() {
    let store = Store::new(None);
    let ids = versions(&store, "one", 1).await;
    let (mut ours, theirs) = tokio::io::duplex(1 << 20);
    ours.write_all(&tree(5).full()[..50_000]).await.unwrap();
    let snapshots = store.snapshots.clone();
    let saving = tokio::spawn(async move { snapshots.save("one", None, u64::MAX, theirs).await });
    until("a second file", || bytes(&store, "one").0 == 2).await;
    saving.abort();
    assert!(saving.await.is_err());
    until("no second file", || bytes(&store, "one").0 == 1).await;
    assert_eq!(store.restore("one", &ids[0]).await.unwrap(), tree(0));
}
