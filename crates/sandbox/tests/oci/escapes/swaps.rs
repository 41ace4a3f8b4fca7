//! A directory that changes places with a link all the time, while somebody outside writes and reads
//! through it: what was checked must be what is used.

use bytes::{Bytes, BytesMut};
use protocol::{Entry, EntryKind, Frame as _, TreeEnd, TreeFrame};
use sandbox::guest_channel::Guest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::{
    cell::{Cell, PATIENCE, program},
    host::Host,
};

/// How often each of the four ways is gone. Either side wins about every second time.
const ROUNDS: usize = 40;

/// The link leads to a directory with a file, which nobody outside has named. They change places in one
/// step (`renameat2`), or in several where there is no such call.
const SWAP: &str = r#"mkdir -p /tmp/theirs /workspace/d; echo kept-apart > /tmp/theirs/file; ln -s /tmp/theirs /workspace/l
    echo swapping; exec perl -e 'chdir "/workspace"; while (1) { next if syscall(316, -100, "d", -100, "l", 2) == 0; rename("d", "x"); rename("l", "d"); rename("d", "l"); rename("x", "d") }'"#;

async fn swaps_lead_nowhere(level: &str) {
    let Some(cell) = Cell::new(level).await else {
        return;
    };
    let host = Host::now();
    let swapping = cell.guest.spawn(program(&["/bin/bash", "-c", SWAP])).await;
    let (input, mut output) = swapping.unwrap().split();
    let began = timeout(PATIENCE, output.next()).await;
    assert!(
        began.unwrap().unwrap().is_some(),
        "{level}: it does not begin"
    );
    for _ in 0..ROUNDS {
        let seen = timeout(PATIENCE, pass(&cell.guest)).await;
        let seen = seen.unwrap_or_else(|_| panic!("{level}: a way has no end"));
        let leaked = seen.windows(10).any(|part| part == b"kept-apart");
        assert!(!leaked, "{level}: a link was followed");
    }
    let look = "ls /tmp/theirs; cat /tmp/theirs/file";
    let looked = cell.run(&["/bin/sh", "-c", look]).await;
    // The kernel of gVisor can be raced into following a link that it was told not to follow. What is
    // reached then is the sandbox's own, as the guest is.
    if level != "gvisor" {
        assert_eq!(looked.text, "file\nkept-apart\n", "{level}");
    }
    input.kill_tree().await.unwrap();
    assert!(cell.answers().await);
    cell.end(&host).await;
}

/// An upload, a restore, a download and a save; what came out of the last two.
async fn pass(guest: &Guest) -> Vec<u8> {
    // Whether it was a directory when it was looked at decides whether they are refused.
    let _ = guest.unpack("/workspace", None, &archive()[..]).await;
    let _ = restore(guest).await;
    let mut seen = Vec::new();
    if let Ok(mut packed) = guest
        .pack("/workspace", vec!["d".into(), "d/file".into()], None)
        .await
    {
        let _ = packed.read_to_end(&mut seen).await;
    }
    if let Ok(mut saved) = guest.save(vec!["/workspace".into()], 0, None).await {
        let _ = saved.read_to_end(&mut seen).await;
    }
    seen
}

fn archive() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for name in ["d/evil", "d/file", "d/below/evil"] {
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, name, &b"evil"[..])
            .unwrap();
    }
    builder.into_inner().unwrap()
}

/// The same as a saved tree. What is there is replaced, so the link may go; what it leads to stays.
async fn restore(guest: &Guest) -> std::io::Result<()> {
    let entry = |path: &'static str, kind| Entry {
        path: Bytes::from_static(path.as_bytes()),
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime_ns: 0,
        xattrs: Vec::new(),
    };
    let mut tree = BytesMut::new();
    TreeFrame::Entry(entry("workspace/d/file", EntryKind::File { size: 4 })).encode(&mut tree);
    TreeFrame::Data(Bytes::from_static(b"evil")).encode(&mut tree);
    TreeFrame::FileEnd { torn: false }.encode(&mut tree);
    TreeFrame::End(TreeEnd::default()).encode(&mut tree);
    let restoring = guest.restore(vec!["/workspace".into()], None).await;
    let mut io = restoring.map_err(std::io::Error::other)?;
    io.write_all(&tree).await?;
    io.read_u8().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn swaps_between_check_and_use_lead_nowhere_at_every_level() {
    for level in ["process", "container", "gvisor"] {
        swaps_lead_nowhere(level).await;
    }
}
