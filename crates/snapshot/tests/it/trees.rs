//! What goes in comes out, and what did not change costs nothing.

use bytes::{Bytes, BytesMut};
use protocol::{Entry, EntryKind, ErrorCode, Frame as _, FrameDecoder, Refusal, TreeFrame};
use snapshot::{Early, RestoreError, SaveError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fixture::{Node, Piece, Store, Tree, end, key, noise, restore, take, unchanged};

fn sample() -> Tree {
    let mut tree = Tree::default();
    tree.add("w", Node::Dir)
        .file("w/empty", Bytes::new())
        .file("w/text", "some text\n".repeat(100))
        .file("w/long", noise(1, 3_000_000))
        .file(b"w/not\xffutf8\n", "x")
        .add("w/dangling", Node::Link("/nowhere"))
        .add("w/dir", Node::Dir)
        .add("w/dir/second", Node::Second("w/text"))
        .add("w/nothing-in-it", Node::Dir);
    let holes = vec![
        Piece::Hole(1 << 40),
        Piece::Data(noise(2, 100_000).into()),
        Piece::Hole(5),
        Piece::Data("tail".into()),
        Piece::Hole(1 << 20),
    ];
    tree.add("w/holes", Node::File(holes));
    tree.mark("w/text", "user.origin", b"here");
    tree.mark("w/dir", "user.empty", b"");
    tree
}

/// Ten thousand files with about a hundred megabytes would take long in a test; this is a tenth.
fn many() -> Tree {
    let mut tree = Tree::default();
    tree.add("w", Node::Dir);
    for dir in 0..20 {
        tree.add(format!("w/d{dir}"), Node::Dir);
        for file in 0..50 {
            let path = format!("w/d{dir}/file{file}");
            tree.file(&path, noise(dir * 1000 + file, 2000 + 37 * file as usize));
        }
    }
    tree
}

#[tokio::test]
async fn what_went_in_comes_out() {
    for key in [None, Some(key())] {
        let (store, tree) = (Store::new(key), sample());
        let saved = store.save("one", None, &tree.full()).await.unwrap();
        assert_eq!((saved.files, saved.since_ns), (5, 77));
        assert!(saved.bytes > 1 << 40);
        let (back, restored) = restore(&store.snapshots, "one", &saved.id).await.unwrap();
        assert_eq!(back, tree);
        assert_eq!((restored.files, restored.bytes), (saved.files, saved.bytes));
        assert_eq!(restored.since_ns, 77);
    }
}

#[tokio::test]
async fn what_did_not_change_is_not_written_again() {
    let (store, mut tree) = (Store::new(None), many());
    let first = store.save("one", None, &tree.full()).await.unwrap();
    let before = tree.clone();
    tree.file("w/d3/file7", noise(9, 3000))
        .file("w/d19/new", noise(8, 2000));
    tree.remove("w/d0/file0");
    let second = store
        .save("one", Some(&first.id), &tree.since(&before))
        .await
        .unwrap();
    assert_eq!(second.files, 1000);
    assert!(
        second.written < 2 * 5000 + 64 * 1024,
        "{} bytes",
        second.written
    );
    assert_eq!(store.restore("one", &second.id).await.unwrap(), tree);
    assert_eq!(store.restore("one", &first.id).await.unwrap(), before);
    // The same content once more, all of it sent: nothing is new, and nothing is written.
    let again = store
        .save("one", Some(&second.id), &tree.full())
        .await
        .unwrap();
    assert_eq!((again.written, again.id, again.files), (0, second.id, 1000));
    // Without a parent, only what names it is new.
    let fresh = store.save("one", None, &tree.full()).await.unwrap();
    assert!(fresh.written < 8 * 1024, "{} bytes", fresh.written);
    assert_ne!(fresh.id, second.id);
}

#[tokio::test]
async fn a_change_in_a_long_file_writes_little_of_it() {
    let (store, mut tree) = (Store::new(Some(key())), Tree::default());
    let mut content = noise(3, 30_000_000);
    tree.add("w", Node::Dir).file("w/disk", content.clone());
    let first = store.save("one", None, &tree.full()).await.unwrap();
    content.splice(10_000_000..10_000_010, noise(4, 50));
    content.extend(noise(5, 100));
    tree.file("w/disk", content);
    let second = store
        .save("one", Some(&first.id), &tree.full())
        .await
        .unwrap();
    assert!(second.written < 1_000_000, "{} bytes", second.written);
    assert_eq!(store.restore("one", &second.id).await.unwrap(), tree);
}

#[tokio::test]
async fn what_the_parent_lacks_must_come_in_full() {
    let (store, tree) = (Store::new(None), sample());
    let saved = store.save("one", None, &tree.full()).await.unwrap();
    let mut larger = tree.clone();
    larger.file("w/text", "other");
    let cases = [
        (None, tree.since(&tree)),
        // Of another size than the parent's.
        (Some(&saved.id), larger.since(&larger)),
    ];
    for (parent, source) in cases {
        let refused = store.save("one", parent, &source).await;
        assert!(
            matches!(refused, Err(SaveError::NeedFull { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(
        store
            .save("one", Some(&saved.id), &tree.since(&tree))
            .await
            .unwrap()
            .files,
        5
    );
}

#[tokio::test]
async fn a_file_that_comes_again_is_kept_as_it_came_last() {
    let store = Store::new(None);
    let mut out = BytesMut::new();
    let entry = |size| Entry {
        path: Bytes::from_static(b"log"),
        kind: EntryKind::File { size },
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime_ns: 0,
        xattrs: Vec::new(),
    };
    for frame in [
        TreeFrame::Entry(entry(10)),
        TreeFrame::Data("first".into()),
        TreeFrame::Void,
        TreeFrame::Entry(entry(6)),
        TreeFrame::Data("second".into()),
        TreeFrame::FileEnd { torn: true },
    ] {
        frame.encode(&mut out);
    }
    end(&mut out);
    let saved = store.save("one", None, &out).await.unwrap();
    assert_eq!((saved.torn, saved.bytes), (1, 6));
    let tree = store.restore("one", &saved.id).await.unwrap();
    assert_eq!(tree.1[&b"log"[..]], [Piece::Data("second".into())]);
}

#[tokio::test]
async fn a_source_that_makes_no_sense_is_refused_and_leaves_nothing() {
    let store = Store::new(None);
    let tree = sample();
    let full = tree.full();
    let encode = |frames: &[TreeFrame]| {
        let mut out = BytesMut::new();
        frames.iter().for_each(|frame| frame.encode(&mut out));
        out.to_vec()
    };
    let text = tree.0[&b"w/text"[..]].clone();
    let dir = tree.0[&b"w"[..]].clone();
    let refusal = Refusal::new(ErrorCode::Failed, "no");
    let again = || vec![TreeFrame::Entry(text.clone()), TreeFrame::Void];
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("cut off", full[..full.len() / 2].to_vec()),
        ("no end", full[..full.len() - 60].to_vec()),
        ("nonsense", b"nonsense that is no frame at all".to_vec()),
        ("data nowhere", encode(&[TreeFrame::Data("x".into())])),
        (
            "twice",
            encode(&[TreeFrame::Entry(dir.clone()), TreeFrame::Entry(dir)]),
        ),
        (
            "end in a file",
            encode(&[TreeFrame::Entry(text.clone()), unchanged(&text)]),
        ),
        (
            "short",
            encode(&[
                TreeFrame::Entry(text.clone()),
                TreeFrame::FileEnd { torn: false },
            ]),
        ),
        (
            "long",
            encode(&[TreeFrame::Entry(text.clone()), TreeFrame::Hole(1 << 30)]),
        ),
        (
            "an empty hole",
            encode(&[TreeFrame::Entry(text.clone()), TreeFrame::Hole(0)]),
        ),
        (
            "in vain for ever",
            encode(&[again(), again(), again()].concat()),
        ),
        ("failed", encode(&[TreeFrame::Failed(refusal)])),
    ];
    for (what, source) in cases {
        let refused = store.save("one", None, &source).await;
        assert!(refused.is_err(), "{what} was saved");
        let left = std::fs::read_dir(store.dir.path().join("one"))
            .unwrap()
            .count();
        assert_eq!(left, 0, "{what} left something");
    }
}

#[tokio::test]
async fn a_sink_that_refuses_is_heard() {
    let (store, tree) = (Store::new(None), sample());
    let saved = store.save("one", None, &tree.full()).await.unwrap();
    let (ours, mut theirs) = tokio::io::duplex(1024);
    let refuse = async {
        // In the middle, while most is still to come.
        theirs.read_exact(&mut [0; 100]).await.unwrap();
        let mut answer = BytesMut::new();
        TreeFrame::Failed(Refusal::new(ErrorCode::Denied, "the disk is full")).encode(&mut answer);
        theirs.write_all(&answer).await.unwrap();
        theirs
    };
    let (_theirs, restored) = tokio::join!(
        refuse,
        store.snapshots.restore("one", &saved.id, None, ours)
    );
    assert!(
        matches!(&restored, Err(RestoreError::Refused(refusal)) if refusal.code == ErrorCode::Denied),
        "{restored:?}"
    );
    let (ours, theirs) = tokio::io::duplex(1024);
    drop(theirs);
    let restored = store.snapshots.restore("one", &saved.id, None, ours).await;
    assert!(
        matches!(restored, Err(RestoreError::Sink(_))),
        "{restored:?}"
    );
}

/// The paths of entries up to the first mark or the end.
async fn entries(
    io: &mut tokio::io::DuplexStream,
    decoder: &mut FrameDecoder<TreeFrame>,
) -> Vec<String> {
    let mut paths = Vec::new();
    loop {
        match decoder.next_frame().unwrap() {
            Some(TreeFrame::Entry(entry)) => {
                paths.push(String::from_utf8_lossy(&entry.path).into_owned());
            }
            Some(TreeFrame::Mark | TreeFrame::End(_)) => return paths,
            Some(_) => {}
            None => assert!(io.read_buf(decoder.buffer()).await.unwrap() > 0),
        }
    }
}

#[tokio::test]
async fn what_is_needed_early_comes_before_the_mark() {
    let store = Store::new(None);
    let mut tree = Tree::default();
    let paths = [
        "home",
        "home/a",
        "work",
        "work/.git",
        "work/.git/x",
        "work/b",
    ];
    for path in paths {
        tree.add(path, Node::Dir);
    }
    let saved = store.save("one", None, &tree.full()).await.unwrap();
    for (up_to, before) in [("work/.git", 5), ("work/.a", 3), ("work/c", 6)] {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let (made, mut ring) = tokio::sync::oneshot::channel();
        let early = Early {
            up_to: up_to.into(),
            made,
        };
        let sink = async {
            let mut decoder = FrameDecoder::default();
            let first = entries(&mut theirs, &mut decoder).await;
            assert_eq!(first.len(), before, "{up_to}: {first:?}");
            assert!(ring.try_recv().is_err());
            let mut answer = BytesMut::new();
            TreeFrame::Mark.encode(&mut answer);
            theirs.write_all(&answer).await.unwrap();
            (&mut ring).await.unwrap();
            let rest = entries(&mut theirs, &mut decoder).await;
            assert_eq!(rest.len(), paths.len() - before, "{up_to}: {rest:?}");
            let mut answer = BytesMut::new();
            end(&mut answer);
            theirs.write_all(&answer).await.unwrap();
        };
        let restored = store.snapshots.restore("one", &saved.id, Some(early), ours);
        let ((), restored) = tokio::join!(sink, restored);
        restored.unwrap();
    }
}

#[tokio::test]
async fn a_whole_tree_rings_with_and_without_a_mark_and_a_cut_one_never() {
    let store = Store::new(None);
    let id = store.save("one", None, &sample().full()).await.unwrap().id;
    for (whole, marked) in [(true, false), (true, true), (false, false)] {
        let (ours, mut theirs) = tokio::io::duplex(1 << 24);
        let (made, ring) = tokio::sync::oneshot::channel();
        let early = Early {
            up_to: "work/none".into(),
            made,
        };
        let mut answer = BytesMut::new();
        if marked {
            TreeFrame::Mark.encode(&mut answer);
        }
        match whole {
            true => end(&mut answer),
            false => {
                let refusal = Refusal::new(ErrorCode::Denied, "the disk is full");
                TreeFrame::Failed(refusal).encode(&mut answer);
            }
        }
        let sink = async {
            let mut decoder = FrameDecoder::default();
            entries(&mut theirs, &mut decoder).await;
            theirs.write_all(&answer).await.unwrap();
            drop(theirs);
        };
        let restored = store.snapshots.restore("one", &id, Some(early), ours);
        let ((), restored) = tokio::join!(sink, restored);
        assert_eq!(restored.is_ok(), whole);
        assert_eq!(ring.await.is_ok(), whole);
    }
}

#[tokio::test]
async fn a_snapshot_that_is_not_there_is_an_error() {
    let store = Store::new(None);
    let id = store.save("one", None, &sample().full()).await.unwrap().id;
    let (ours, theirs) = tokio::io::duplex(1024);
    let (tree, restored) = tokio::join!(
        take(theirs),
        store.snapshots.restore("other", &id, None, ours)
    );
    assert!(tree.is_none() && matches!(restored, Err(RestoreError::Store(_))));
    for name in ["", "../one", "a/b", ".hidden", &"x".repeat(200)] {
        let refused = store.save(name, None, &sample().full()).await;
        assert!(refused.is_err(), "{name:?} is a line");
    }
}

#[tokio::test]
async fn more_content_than_allowed_is_refused() {
    let (store, tree) = (Store::new(None), sample());
    let content = 3_000_000 + 100_000 + 1000 + 4 + 1;
    let (snapshots, tree) = (&store.snapshots, tree.full());
    let refused = snapshots.save("one", None, content - 1, &tree[..]).await;
    assert!(
        matches!(refused, Err(SaveError::TooLarge(_))),
        "{refused:?}"
    );
    let saved = snapshots.save("one", None, content, &tree[..]).await;
    assert!(saved.is_ok());
}
