//! Any bytes as the tree that a guest sends to be kept.

use std::sync::OnceLock;

use snapshot::Snapshots;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::fixture::restore;

/// Bytes of content that are taken; few, so that the bound is met.
const MOST: u64 = 4096;

#[test]
fn any_tree_is_kept_as_it_came_or_refused() {
    fuzz::target!("saved", 1_000, |data| {
        static WORLD: OnceLock<(Runtime, Snapshots, TempDir)> = OnceLock::new();
        let (runtime, snapshots, _) = WORLD.get_or_init(|| {
            let dir = tempfile::tempdir_in(fuzz::scratch()).unwrap();
            let snapshots = Snapshots::open(dir.path().to_owned(), None).unwrap();
            (Runtime::new().unwrap(), snapshots, dir)
        });
        runtime.block_on(keep(snapshots, data));
    });
}

/// What was kept comes back; and what came back is kept as the same files.
async fn keep(snapshots: &Snapshots, data: &[u8]) {
    if let Ok(saved) = snapshots.save("line", None, MOST, data).await {
        let (tree, _) = restore(snapshots, "line", &saved.id).await.unwrap();
        assert_eq!(tree.1.len() as u64, saved.files);
        let again = tree.full();
        let again = snapshots
            .save("again", None, MOST, &again[..])
            .await
            .unwrap();
        assert_eq!((again.files, again.bytes), (saved.files, saved.bytes));
        let (same, _) = restore(snapshots, "again", &again.id).await.unwrap();
        assert_eq!(same, tree);
    }
    snapshots.remove_line("line").await.unwrap();
    snapshots.remove_line("again").await.unwrap();
    assert!(snapshots.lines().await.unwrap().is_empty());
}
