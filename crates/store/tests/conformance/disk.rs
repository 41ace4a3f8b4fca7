//! A full disk: a small file system in a mount namespace of the test's own thread (and the threads
//! it starts), which is gone with the thread however it ends.

use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use store::*;

use crate::fixture::*;

#[test]
fn a_full_disk_refuses_keeps_everything_and_goes_on_when_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let test = std::thread::spawn(move || {
        if let Err(error) = small_file_system(&path) {
            println!("skipped: cannot mount a small file system: {error}");
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(fill_and_free(&path));
    });
    test.join().unwrap();
}

fn small_file_system(path: &Path) -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(
        Some("tmpfs"),
        path,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("size=16m"),
    )
}

fn large(id: &str) -> Write {
    Write::Append(NewEvent {
        id: id.to_owned(),
        kind: "agent.message".to_owned(),
        processed_at: at(100),
        body: format!("\"{}\"", "x".repeat(100_000)),
    })
}

async fn fill_and_free(path: &Path) {
    let store = Store::open(&path.join("data")).unwrap();
    furnish(&store).await;
    store
        .sessions()
        .create(session("s"), Vec::new())
        .await
        .unwrap();
    let fence = store.sessions().claim("s", "owner").await.unwrap();
    fs::write(path.join("ballast"), vec![0; 6 << 20]).unwrap();

    let mut kept = 0;
    let refused = loop {
        match store
            .events()
            .commit("s", fence, vec![large(&format!("e{kept}"))])
            .await
        {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 400, "the disk never became full");
    };
    let CommitError::Store(refused) = refused else {
        panic!("an error of another kind: {refused}")
    };
    assert!(refused.is_transient(), "{refused}");
    for attempt in 0..5 {
        let again = store
            .events()
            .commit("s", fence, vec![large(&format!("f{attempt}"))])
            .await;
        assert!(matches!(again, Err(CommitError::Store(error)) if error.is_transient()));
    }
    let numbers = |events: Vec<EventRow>| {
        events
            .into_iter()
            .map(|event| event.seq)
            .collect::<Vec<_>>()
    };
    let readable = store.events().tail("s", 0, 1000).await.unwrap();
    assert_eq!(numbers(readable), (1..=kept).collect::<Vec<_>>());

    fs::remove_file(path.join("ballast")).unwrap();
    let next = store
        .events()
        .commit("s", fence, vec![large("after")])
        .await
        .unwrap();
    assert_eq!(next[0].seq, kept + 1);
    drop(store);
    let store = Store::open(&path.join("data")).unwrap();
    let reopened = store.events().tail("s", 0, 1000).await.unwrap();
    assert_eq!(numbers(reopened), (1..=kept + 1).collect::<Vec<_>>());
}
