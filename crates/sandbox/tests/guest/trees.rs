//! Trees out of a guest and into another. What the frames say is checked here byte by byte, with
//! no store between.

use bytes::{Bytes, BytesMut};
use protocol::{Entry, EntryKind, Frame as _, FrameDecoder, Refusal, TreeEnd, TreeFrame};
use sandbox::guest_channel::{ErrorCode, GuestIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::inside::{Inside, inside, soon, spec};

/// All of a tree: every item with its frames, and the end.
struct Saved {
    frames: Vec<TreeFrame>,
    end: TreeEnd,
}

impl Saved {
    /// Paths of the entries that carry something, in the order in which they came.
    fn changed(&self) -> Vec<String> {
        let entries = self.frames.iter().filter_map(|frame| match frame {
            TreeFrame::Entry(entry) if !entry.is_dir() => Some(shown(&entry.path)),
            _ => None,
        });
        entries.collect()
    }

    fn unchanged(&self) -> usize {
        let same = |frame: &&TreeFrame| matches!(frame, TreeFrame::Unchanged(_));
        self.frames.iter().filter(same).count()
    }

    fn entry(&self, path: &str) -> &Entry {
        let found = self.frames.iter().find_map(|frame| match frame {
            TreeFrame::Entry(entry) if entry.path == path => Some(entry),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("{path} is not in the tree"))
    }

    /// Bytes of content that came, and of holes.
    fn weight(&self) -> (u64, u64) {
        let (mut data, mut holes) = (0, 0);
        for frame in &self.frames {
            match frame {
                TreeFrame::Data(bytes) => data += bytes.len() as u64,
                TreeFrame::Hole(len) => holes += len,
                _ => {}
            }
        }
        (data, holes)
    }
}

fn shown(path: &[u8]) -> String {
    path.escape_ascii().to_string()
}

async fn frames(mut io: GuestIo) -> Result<Saved, Refusal> {
    let mut decoder = FrameDecoder::<TreeFrame>::default();
    let mut frames = Vec::new();
    loop {
        match decoder.next_frame().unwrap() {
            Some(TreeFrame::End(end)) => return Ok(Saved { frames, end }),
            Some(TreeFrame::Failed(refusal)) => return Err(refusal),
            Some(frame) => frames.push(frame),
            None => {
                let read = soon(io.read_buf(decoder.buffer())).await.unwrap();
                assert_ne!(read, 0, "the stream ended before the tree");
            }
        }
    }
}

async fn save(inside: &Inside, since_ns: i64) -> Saved {
    let roots = vec!["/workspace".to_owned()];
    let io = soon(inside.guest.save(roots, since_ns, None))
        .await
        .unwrap();
    frames(io).await.unwrap()
}

async fn restore(inside: &Inside, tree: &[TreeFrame]) -> Result<TreeEnd, Refusal> {
    let roots = vec!["/workspace".to_owned()];
    let mut io = soon(inside.guest.restore(roots, None)).await.unwrap();
    let mut bytes = BytesMut::new();
    for frame in tree {
        frame.encode(&mut bytes);
        if bytes.len() > 100_000 {
            soon(io.write_all(&bytes.split())).await.unwrap();
        }
    }
    TreeFrame::End(TreeEnd::default()).encode(&mut bytes);
    soon(io.write_all(&bytes)).await.unwrap();
    frames(io).await.map(|answer| answer.end)
}

/// Everything about a tree that a program can see, but not when something was changed in it.
const DESCRIBE: &str = r#"cd /workspace && find . -printf '%P %y %#m %n %s %T@ %l\n' | sort &&
    find . -type f -print0 | sort -z | xargs -0 sha256sum &&
    find . -type f -print0 | sort -z | xargs -0 python3 -c 'import os, sys
for path in sys.argv[1:]:
    for name in os.listxattr(path):
        print(path, name, os.getxattr(path, name))'; true"#;

/// A file of one byte.
fn file(path: &'static str) -> Vec<TreeFrame> {
    let entry = TreeFrame::Entry(plain(path, EntryKind::File { size: 1 }));
    vec![
        entry,
        TreeFrame::Data(Bytes::from_static(b"x")),
        TreeFrame::FileEnd { torn: false },
    ]
}

async fn describe(inside: &Inside) -> String {
    inside.sh(DESCRIBE).await.text()
}

const MAKE: &str = r#"cd /workspace && umask 022 &&
    mkdir -p src/deep/er empty closed shared && echo text > src/file && : > src/nothing &&
    head -c 3000000 /dev/urandom > src/deep/big && chmod 751 src/deep/big &&
    truncate -s 1G sparse && printf middle | dd of=sparse bs=1 seek=500000000 conv=notrunc status=none &&
    truncate -s 2M tail && printf x | dd of=tail bs=1 conv=notrunc status=none &&
    ln -s ../src/file src/deep/link && ln -s /nowhere/at/all dangling && ln -s src linked-directory &&
    ln src/file src/deep/er/second-name && ln src/file zz-third &&
    printf bytes > "$(printf 'not\377utf8')" && printf new > "$(printf 'new\nline')" &&
    chmod 4755 src/nothing && chmod 2775 shared && echo secret > closed/in && chmod 000 closed/in &&
    chmod 555 closed && mkfifo pipe && touch -d '1999-12-31 23:59:59.123456789' src/file &&
    touch -h -d '2001-01-01 00:00:01.5' dangling && touch -d 1985-10-26 empty src/deep"#;

#[tokio::test]
async fn a_tree_becomes_the_same_tree_in_another_sandbox() {
    let Some(one) = inside().await else { return };
    let Some(other) = inside().await else { return };
    let made = one.sh(MAKE).await;
    assert!(made.exit.success(), "{}", made.complaint());
    let attribute = one
        .sh("python3 -c \"import os; os.setxattr('/workspace/src/file', 'user.origin', b'here')\"")
        .await;
    if !attribute.exit.success() {
        eprintln!("no attributes here: {}", attribute.complaint());
    }
    let saved = save(&one, 0).await;
    assert_eq!((saved.end.skipped, &saved.end.example), (0, &None));
    let (data, holes) = saved.weight();
    assert!(data < 3_200_000, "{data} bytes for a file with holes");
    assert_eq!(
        data + holes,
        3_000_000 + (1 << 30) + (2 << 20) + 5 + 5 + 3 + 7
    );

    let end = restore(&other, &saved.frames).await.unwrap();
    assert_eq!((end.skipped, end.example), (0, None));
    // A pipe is in no tree, and no set-user-id bit comes back.
    let undo = "cd /workspace && rm pipe && chmod 755 src/nothing";
    assert!(one.sh(undo).await.exit.success());
    // Only the root's own time has changed by that.
    let touch = "touch -d 2020-01-01 /workspace";
    one.sh(touch).await;
    other.sh(touch).await;
    let both = "chmod 755 /workspace/closed; chmod 644 /workspace/closed/in";
    for (inside, expected) in [(&one, "555 0"), (&other, "555 0")] {
        let modes = inside
            .sh("cd /workspace && stat -c %a closed closed/in | xargs echo")
            .await;
        assert_eq!(modes.text(), expected);
        inside.sh(both).await;
    }
    let described = describe(&one).await;
    assert_eq!(described, describe(&other).await);
    assert_eq!(described.contains("user.origin"), attribute.exit.success());
    let blocks = other
        .sh("stat -c %b /workspace/sparse /workspace/tail | xargs echo")
        .await;
    let blocks: Vec<u64> = blocks
        .text()
        .split(' ')
        .map(|count| count.parse().unwrap())
        .collect();
    assert!(
        blocks.iter().all(|blocks| *blocks < 1000),
        "holes were filled: {blocks:?}"
    );
}

#[tokio::test]
async fn a_mark_is_answered_when_all_before_it_is_made() {
    let Some(inside) = inside().await else { return };
    let roots = vec!["/workspace".to_owned()];
    let mut io = soon(inside.guest.restore(roots, None)).await.unwrap();
    let mut decoder = FrameDecoder::<TreeFrame>::default();
    let mut bytes = BytesMut::new();
    for frame in file("workspace/early") {
        frame.encode(&mut bytes);
    }
    TreeFrame::Mark.encode(&mut bytes);
    soon(io.write_all(&bytes.split())).await.unwrap();
    while decoder.next_frame().unwrap() != Some(TreeFrame::Mark) {
        soon(io.read_buf(decoder.buffer())).await.unwrap();
    }
    assert_eq!(inside.sh("ls /workspace").await.text(), "early");
    for frame in file("workspace/late") {
        frame.encode(&mut bytes);
    }
    TreeFrame::End(TreeEnd::default()).encode(&mut bytes);
    soon(io.write_all(&bytes)).await.unwrap();
    frames(io).await.unwrap();
    assert_eq!(
        inside.sh("ls /workspace | xargs echo").await.text(),
        "early late"
    );
}

#[tokio::test]
async fn a_mark_right_before_the_end_does_no_harm() {
    let Some(inside) = inside().await else { return };
    for _ in 0..50 {
        let mut tree = file("workspace/early");
        tree.push(TreeFrame::Mark);
        restore(&inside, &tree).await.unwrap();
    }
}

#[tokio::test]
async fn the_next_save_carries_what_changed_and_names_the_rest() {
    let Some(inside) = inside().await else { return };
    let make = "cd /workspace && for d in a b c; do mkdir $d; for f in 1 2 3; do echo $d$f > $d/$f; done; done";
    assert!(inside.sh(make).await.exit.success());
    settle(&inside).await;
    let first = save(&inside, 0).await;
    assert_eq!(first.changed().len(), 9);
    let again = save(&inside, first.end.since_ns).await;
    assert_eq!((again.changed().len(), again.unchanged()), (0, 13));

    let change = "cd /workspace && echo more >> a/1 && rm b/2 && echo new > c/.n && mv c/.n c/3 && \
        chmod 600 c/1 && echo x > top";
    assert!(inside.sh(change).await.exit.success());
    let third = save(&inside, again.end.since_ns).await;
    let changed = third.changed();
    assert_eq!(
        changed,
        [
            "workspace/top",
            "workspace/a/1",
            "workspace/c/1",
            "workspace/c/3"
        ]
    );
    // Nothing of the file that was removed, and no time that this guest never said is believed.
    assert!(
        !third.frames.iter().any(
            |frame| matches!(frame, TreeFrame::Unchanged(same) if same.path == "workspace/b/2")
        )
    );
    assert_eq!(save(&inside, third.end.since_ns + 1).await.unchanged(), 0);
}

#[tokio::test]
async fn what_is_written_through_memory_is_noticed() {
    let Some(inside) = inside().await else { return };
    let write = "import mmap\n\
        f = open('/workspace/data', 'w+b'); f.truncate(4096); m = mmap.mmap(f.fileno(), 4096)\n\
        m[0] = 1; print('ready', flush=True); input(); m[0] = 2; print('again', flush=True)";
    if !inside.sh("command -v python3").await.exit.success() {
        eprintln!("skipped: python3 is not installed");
        return;
    }
    let process = inside.spawn(spec(&["python3", "-c", write])).await;
    let (input, mut output) = process.split();
    crate::inside::until(&mut output, "ready").await;
    settle(&inside).await;
    let first = save(&inside, 0).await;
    // The page is writable already, so this leaves no trace in the file's times.
    soon(input.write(b"\n")).await.unwrap();
    crate::inside::until(&mut output, "again").await;
    crate::inside::drain(output).await;
    let second = save(&inside, first.end.since_ns).await;
    assert_eq!(second.changed(), ["workspace/data"]);
    assert!(matches!(&second.frames[2], TreeFrame::Data(bytes) if bytes[0] == 2));
    let third = save(&inside, second.end.since_ns).await;
    assert_eq!(third.changed(), [""; 0], "nobody has it mapped any more");
}

#[tokio::test]
async fn directories_that_change_places_are_noticed() {
    let Some(inside) = inside().await else { return };
    // Same names, sizes and dates, as packages have them.
    let make = "cd /workspace && mkdir -p v1/sub v2/sub other && echo 1.0.1 > v1/version && \
        echo 1.0.2 > v2/version && echo one > v1/sub/x && echo two > v2/sub/x && echo y > other/y && \
        touch -d 1985-10-26 */version */sub/x";
    assert!(inside.sh(make).await.exit.success());
    settle(&inside).await;
    let first = save(&inside, 0).await;
    let swap = "cd /workspace && mv v1 old && mv v2 v1 && mv old v2 && echo more > other/z";
    assert!(inside.sh(swap).await.exit.success());
    let changed = save(&inside, first.end.since_ns).await.changed();
    let moved = ["v1/version", "v1/sub/x", "v2/version", "v2/sub/x"];
    let mut expected: Vec<String> = moved
        .iter()
        .map(|path| format!("workspace/{path}"))
        .collect();
    expected.insert(0, "workspace/other/z".to_owned());
    assert_eq!(changed, expected);
}

#[tokio::test]
async fn a_restored_tree_is_unchanged_until_something_changes() {
    let Some(one) = inside().await else { return };
    let Some(other) = inside().await else { return };
    let make = "cd /workspace && mkdir -p d/e && for i in $(seq 300); do echo $i > d/e/$i; done && ln -s d l";
    assert!(one.sh(make).await.exit.success());
    let tree = save(&one, 0).await;
    let end = restore(&other, &tree.frames).await.unwrap();
    settle(&other).await;
    let saved = save(&other, end.since_ns).await;
    // What was made in the restore's last moment cannot be told from what changed right after.
    let again = save(&other, saved.end.since_ns).await;
    assert_eq!((again.changed().len(), again.unchanged()), (0, 304));
    assert!(other.sh("echo x >> /workspace/d/e/7").await.exit.success());
    let changed = save(&other, again.end.since_ns).await.changed();
    assert_eq!(changed, ["workspace/d/e/7"]);
}

#[tokio::test]
async fn many_small_files_go_out_and_in() {
    let Some(one) = inside().await else { return };
    let Some(other) = inside().await else { return };
    let make = "cd /workspace && for d in $(seq 100); do mkdir $d; (cd $d; seq 200 | split -l 1 -a 3 - f); done";
    assert!(one.sh(make).await.exit.success());
    let saved = save(&one, 0).await;
    assert_eq!(saved.changed().len(), 20_000);
    restore(&other, &saved.frames).await.unwrap();
    assert_eq!(describe(&one).await, describe(&other).await);
}

#[tokio::test]
async fn an_entry_that_leads_elsewhere_is_refused() {
    let Some(inside) = inside().await else { return };
    assert!(inside.sh("ln -s /tmp /workspace/out").await.exit.success());
    let link = |target: &'static str| {
        let target = Bytes::from_static(target.as_bytes());
        vec![TreeFrame::Entry(plain(
            "workspace/l",
            EntryKind::Hardlink { target },
        ))]
    };
    for tree in [
        file("tmp/evil"),
        file("workspace/out/evil"),
        file("workspacex"),
        link("tmp/x"),
    ] {
        let refused = restore(&inside, &tree).await;
        let refusal = refused.expect_err("it was made");
        assert_eq!(refusal.code, ErrorCode::Confined, "{refusal}");
    }
    assert!(!inside.sh("ls -A /tmp | grep .").await.exit.success());
    let unchanged = protocol::Unchanged {
        path: Bytes::from_static(b"workspace/x"),
        dir: false,
        size: 0,
        mtime_ns: 0,
    };
    let cases = [
        vec![TreeFrame::Unchanged(unchanged)],
        vec![TreeFrame::Void],
        file("workspace/a")[..2].to_vec(),
        vec![file("workspace/a").remove(0), TreeFrame::Hole(2)],
    ];
    for tree in cases {
        let refusal = restore(&inside, &tree).await.expect_err("it was made");
        assert_eq!(refusal.code, ErrorCode::BadRequest, "{refusal}");
    }
}

#[tokio::test]
async fn what_is_there_is_replaced_and_what_is_not_in_the_tree_stays() {
    let Some(one) = inside().await else { return };
    let Some(other) = inside().await else { return };
    assert!(
        one.sh("cd /workspace && mkdir d && echo new > d/f && echo g > g")
            .await
            .exit
            .success()
    );
    let before = "cd /workspace && mkdir d t && echo old > d/f && chmod 400 d/f && echo stays > d/s && ln -s t g && chmod 555 d";
    assert!(other.sh(before).await.exit.success());
    restore(&other, &save(&one, 0).await.frames).await.unwrap();
    let after = "cd /workspace && cat d/f d/s g | xargs echo && stat -c %F g && ls t";
    assert_eq!(other.sh(after).await.text(), "new stays g\nregular file");
}

#[tokio::test]
async fn roots_are_absolute_and_a_missing_one_is_empty() {
    let Some(inside) = inside().await else { return };
    let roots = vec!["/nowhere".to_owned(), "/workspace".to_owned()];
    let io = inside.guest.save(roots, 0, None).await.unwrap();
    let saved = frames(io).await.unwrap();
    assert_eq!(saved.entry("workspace").kind, EntryKind::Dir);
    assert_eq!(saved.frames.len(), 1);
    for root in ["workspace", "/", "/a/../b", ""] {
        let refused = inside.guest.save(vec![root.to_owned()], 0, None).await;
        assert!(refused.is_err(), "{root:?} was saved");
    }
}

/// Waits until what was made before is older than the grain of the kernel's times, after which a
/// save can tell it from later changes.
async fn settle(inside: &Inside) {
    assert!(inside.sh("sleep 0.1").await.exit.success());
}

fn plain(path: &'static str, kind: EntryKind) -> Entry {
    Entry {
        path: Bytes::from_static(path.as_bytes()),
        kind,
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        mtime_ns: 0,
        xattrs: Vec::new(),
    }
}
