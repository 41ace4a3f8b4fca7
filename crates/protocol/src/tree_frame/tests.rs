use proptest::prelude::*;

use super::*;
use crate::{ErrorCode, FrameDecoder};

fn path() -> impl Strategy<Value = Bytes> {
    let name = prop::collection::vec(1..=255u8, 1..6).prop_map(|mut name| {
        name.iter_mut()
            .filter(|byte| **byte == b'/' || **byte == b'.')
            .for_each(|byte| *byte = b'x');
        name
    });
    prop::collection::vec(name, 1..4).prop_map(|names| names.join(&b'/').into())
}

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 1..most).prop_map(Bytes::from)
}

fn entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![
        Just(EntryKind::Dir),
        any::<u64>().prop_map(|size| EntryKind::File { size }),
        bytes(100).prop_map(|target| EntryKind::Symlink { target }),
        path().prop_map(|target| EntryKind::Hardlink { target }),
    ];
    let xattr = (path(), bytes(50)).prop_map(|(name, value)| Xattr { name, value });
    let numbers = (0..=0o7777u32, any::<u32>(), any::<u32>(), any::<i64>());
    (path(), kind, numbers, prop::collection::vec(xattr, 0..3)).prop_map(
        |(path, kind, (mode, uid, gid, mtime_ns), xattrs)| Entry {
            path,
            kind,
            mode,
            uid,
            gid,
            mtime_ns,
            xattrs,
        },
    )
}

fn frame() -> impl Strategy<Value = TreeFrame> {
    prop_oneof![
        entry().prop_map(TreeFrame::Entry),
        (path(), any::<bool>(), any::<u64>(), any::<i64>()).prop_map(
            |(path, dir, size, mtime_ns)| {
                TreeFrame::Unchanged(Unchanged {
                    path,
                    dir,
                    size,
                    mtime_ns,
                })
            }
        ),
        bytes(300).prop_map(TreeFrame::Data),
        any::<u64>().prop_map(TreeFrame::Hole),
        any::<bool>().prop_map(|torn| TreeFrame::FileEnd { torn }),
        Just(TreeFrame::Void),
        Just(TreeFrame::Mark),
        (any::<i64>(), any::<u64>(), any::<Option<String>>()).prop_map(
            |(since_ns, skipped, example)| TreeFrame::End(TreeEnd {
                since_ns,
                skipped,
                example
            })
        ),
        ".*".prop_map(|message| TreeFrame::Failed(Refusal::new(ErrorCode::Failed, message))),
    ]
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in(frames in prop::collection::vec(frame(), 0..8)) {
        let mut wire = BytesMut::new();
        frames.iter().for_each(|frame| frame.encode(&mut wire));
        let mut decoder = FrameDecoder::<TreeFrame>::default();
        decoder.push(&wire);
        let mut out = Vec::new();
        while let Some(frame) = decoder.next_frame().unwrap() {
            out.push(frame);
        }
        prop_assert_eq!(out, frames);
    }

    #[test]
    fn any_payload_is_a_frame_or_an_error(kind in 0x50..0x5au8, payload in bytes(200)) {
        if let Ok(frame) = TreeFrame::read(kind, payload) {
            let (again, bytes) = frame.parts();
            prop_assert_eq!(TreeFrame::read(again, bytes).unwrap(), frame);
        }
    }

    #[test]
    fn a_cut_entry_is_an_error(entry in entry(), cut in 0.0..1.0f64) {
        let (kind, bytes) = TreeFrame::Entry(entry).parts();
        let fixed = 33; // kind, numbers and the lengths of path and target
        let len = (fixed as f64 * cut) as usize;
        prop_assert!(TreeFrame::read(kind, bytes.slice(..len)).is_err());
    }
}

#[test]
fn a_path_that_leads_elsewhere_is_no_path() {
    let bad: [&[u8]; 9] = [
        b"", b"/", b"/etc", b"a/", b"a//b", b"a/../b", b"..", b"a/./b", b"a\0b",
    ];
    for path in bad {
        assert!(!is_tree_path(path), "{path:?}");
    }
    for path in [&b"a"[..], b"a/.b", b"a/..b/c", b"\xff/ \n"] {
        assert!(is_tree_path(path), "{path:?}");
    }
    assert!(!is_tree_path(&[b'a'; TREE_PATH_MAX + 1]));
}

#[test]
fn a_directory_comes_before_its_files_and_they_before_its_directories() {
    let sorted: [(&[u8], bool); 9] = [
        (b"a", false),
        (b"z", false),
        (b"b", true),
        (b"b/y", false),
        (b"b/c", true),
        (b"b/c/x", false),
        (b"b/d", true),
        (b"b-c", true),
        (b"b-c/x", false),
    ];
    for (i, a) in sorted.iter().enumerate() {
        for (j, b) in sorted.iter().enumerate() {
            assert_eq!(order(*a, *b), i.cmp(&j), "{a:?} {b:?}");
        }
    }
}
