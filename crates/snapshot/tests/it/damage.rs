//! Whatever happens to the bytes on the disk, what comes back is what was saved, or an error that
//! names the file.

use std::{fs, path::PathBuf};

use snapshot::{CollectError, Key, RestoreError, SnapshotId, Snapshots, StoreError};

use crate::fixture::{Node, Store, Tree, key, noise};

/// Few bytes with everything in them: chunks, a list of chunks, parts, a root.
fn small() -> Tree {
    let mut tree = Tree::default();
    tree.add("w", Node::Dir)
        .file("w/text", "some text\n".repeat(30))
        .file("w/noise", noise(1, 300))
        .add("w/link", Node::Link("text"));
    tree.mark("w/text", "user.origin", b"here");
    tree
}

fn packs(store: &Store, line: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(store.dir.path().join(line)).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The error names the pack; a wrong tree is worse than none.
async fn names_it(store: &Store, id: &SnapshotId, pack: &std::path::Path, what: &str) {
    match store.restore("one", id).await {
        Ok(_) => panic!("{what} was not noticed"),
        Err(RestoreError::Store(error)) => {
            let name = pack.file_name().unwrap().to_str().unwrap();
            assert!(error.to_string().contains(name), "{what}: {error}");
        }
        Err(other) => panic!("{what}: {other:?}"),
    }
}

#[tokio::test]
async fn no_byte_changes_unnoticed() {
    for key in [None, Some(key())] {
        let (store, tree) = (Store::new(key), small());
        let id = store.save("one", None, &tree.full()).await.unwrap().id;
        let [pack] = &packs(&store, "one")[..] else {
            panic!("a save makes one pack")
        };
        let whole = fs::read(pack).unwrap();
        assert!(whole.len() < 2500, "{} bytes to change", whole.len());
        for at in 0..whole.len() {
            for change in [0x01, 0x80] {
                let mut damaged = whole.clone();
                damaged[at] ^= change;
                fs::write(pack, damaged).unwrap();
                names_it(&store, &id, pack, &format!("byte {at}")).await;
            }
        }
        for len in (0..whole.len()).step_by(7) {
            fs::write(pack, &whole[..len]).unwrap();
            names_it(&store, &id, pack, &format!("cut to {len}")).await;
        }
        fs::write(pack, [&whole[..], b"x"].concat()).unwrap();
        names_it(&store, &id, pack, "a byte more").await;
        fs::write(pack, whole).unwrap();
        assert_eq!(store.restore("one", &id).await.unwrap(), tree);
    }
}

#[tokio::test]
async fn damage_elsewhere_does_no_harm() {
    let store = Store::new(None);
    let (tree, mut other) = (small(), small());
    other.file("w/other", noise(2, 500));
    let id = store.save("one", None, &tree.full()).await.unwrap().id;
    let [pack] = &packs(&store, "one")[..] else {
        panic!()
    };
    let second = store
        .save("one", Some(&id), &other.since(&tree))
        .await
        .unwrap()
        .id;
    let newer = packs(&store, "one")
        .into_iter()
        .find(|path| path != pack)
        .unwrap();
    fs::write(&newer, b"nonsense").unwrap();
    assert_eq!(store.restore("one", &id).await.unwrap(), tree);
    names_it(&store, &second, &newer, "the newer pack").await;

    // What is to be kept and is not whole stops a collection before it removes anything.
    let collected = store.snapshots.collect("one", &[id, second]).await;
    assert!(matches!(collected, Err(CollectError::Broken { id, .. }) if id == second));
    assert_eq!(packs(&store, "one").len(), 2);
    // A damaged pack that nothing needs goes.
    store.snapshots.collect("one", &[id]).await.unwrap();
    assert_eq!(&packs(&store, "one")[..], std::slice::from_ref(pack));
    assert_eq!(store.restore("one", &id).await.unwrap(), tree);
}

#[tokio::test]
async fn what_was_sealed_opens_with_its_key_only() {
    let (store, tree) = (Store::new(Some(key())), small());
    let id = store.save("one", None, &tree.full()).await.unwrap().id;
    let bytes = fs::read(&packs(&store, "one")[0]).unwrap();
    for plain in [&b"some text"[..], b"w/link", b"user.origin"] {
        assert!(!bytes.windows(plain.len()).any(|window| window == plain));
    }
    let other = |key| Snapshots::open(store.dir.path().to_owned(), key).unwrap();
    let cases = [(None, "encrypted"), (Some(Key::new([1; 32])), "this key")];
    for (key, says) in cases {
        let (ours, _theirs) = tokio::io::duplex(1 << 20);
        let refused = other(key).restore("one", &id, None, ours).await;
        let Err(RestoreError::Store(error)) = refused else {
            panic!("{refused:?}")
        };
        assert!(error.to_string().contains(says), "{error}");
    }
    assert_eq!(store.restore("one", &id).await.unwrap(), tree);
}

#[tokio::test]
async fn what_was_kept_before_there_was_a_key_stays_readable() {
    let (store, tree) = (Store::new(None), small());
    let id = store.save("one", None, &tree.full()).await.unwrap().id;
    let snapshots = Snapshots::open(store.dir.path().to_owned(), Some(key())).unwrap();
    let mut next = tree.clone();
    next.file("w/secret", "nobody shall read this");
    let source = next.since(&tree);
    let saved = snapshots
        .save("one", Some(&id), u64::MAX, &source[..])
        .await
        .unwrap();
    let (back, _) = crate::fixture::restore(&snapshots, "one", &saved.id)
        .await
        .unwrap();
    assert_eq!(back, next);
    let refused = store.restore("one", &saved.id).await;
    assert!(matches!(
        refused,
        Err(RestoreError::Store(StoreError::NoKey { .. }))
    ));
}
