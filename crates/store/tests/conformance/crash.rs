//! kill -9 at any moment: what was acknowledged is there, once and in order. The child is this test
//! binary again, running [`child`] alone with a directory given by the environment.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use store::*;

use crate::fixture::*;

const DIR: &str = "STORE_CRASH_DIR";
const SESSIONS: [&str; 3] = ["s0", "s1", "s2"];

/// Commits in all sessions without end and prints what was acknowledged. Does nothing when it is
/// run as an ordinary test.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let store = Arc::new(Store::open(Path::new(&dir)).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for session in SESSIONS {
            tasks.spawn(commit_without_end(Arc::clone(&store), session));
        }
        tasks.join_next().await.unwrap().unwrap();
    });
}

async fn commit_without_end(store: Arc<Store>, session: &'static str) {
    let fence = store.sessions().claim(session, "child").await.unwrap();
    for number in 0.. {
        let id = format!("{session}-{}-{number}", std::process::id());
        store
            .events()
            .enqueue(&MINE, session, vec![queued(&id)])
            .await
            .unwrap();
        say(&format!("ACK {session} 0 {id}\n"));
        let writes = vec![
            process(&id),
            append(&format!("{id}a")),
            append(&format!("{id}b")),
        ];
        for event in store.events().commit(session, fence, writes).await.unwrap() {
            say(&format!("ACK {session} {} {}\n", event.seq, event.id));
        }
    }
}

/// One write per line, so that a line is either there or not.
fn say(line: &str) {
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

#[tokio::test]
async fn acknowledged_events_survive_kill_9_once_and_in_order() {
    let mut dice = Dice::seeded();
    let dir = tempfile::tempdir().unwrap();
    {
        let store = Store::open(dir.path()).unwrap();
        furnish(&store).await;
        for id in SESSIONS {
            store
                .sessions()
                .create(session(id), Vec::new())
                .await
                .unwrap();
        }
    }
    let mut acknowledged: HashMap<String, i64> = HashMap::new();
    for round in 0..6 {
        run_and_kill(dir.path(), &mut dice, &mut acknowledged);
        let store = Store::open(dir.path()).unwrap();
        verify(&store, &acknowledged).await;
        println!("round {round}: {} acknowledged", acknowledged.len());
    }
}

/// Reads a random number of acknowledgements, kills the child, and reads what it still said.
fn run_and_kill(dir: &Path, dice: &mut Dice, acknowledged: &mut HashMap<String, i64>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let enough = 1 + dice.below(400);
    let (mut count, mut line) = (0, String::new());
    loop {
        line.clear();
        if lines.read_line(&mut line).unwrap() == 0 {
            break;
        }
        // The test harness may have begun the line that the first acknowledgement is on.
        let Some(start) = line.find("ACK ").filter(|_| line.ends_with('\n')) else {
            continue;
        };
        let mut words = line[start..].split_whitespace().skip(2);
        let (seq, id) = (words.next().unwrap(), words.next().unwrap());
        acknowledged.insert(id.to_owned(), seq.parse().unwrap());
        count += 1;
        if count == enough {
            for _ in 0..dice.below(20_000) {
                std::hint::spin_loop();
            }
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(
        count >= enough,
        "the child ended by itself after {count} acknowledgements"
    );
}

async fn verify(store: &Store, acknowledged: &HashMap<String, i64>) {
    let mut found: HashMap<String, i64> = HashMap::new();
    for session in SESSIONS {
        let log = store.events().tail(session, 0, 1_000_000).await.unwrap();
        for (expected, event) in (1..).zip(log) {
            assert_eq!(event.seq, expected, "a gap in {session}");
            assert_eq!(
                found.insert(event.id, event.seq),
                None,
                "an event is there twice"
            );
        }
        for event in store.events().queued(session).await.unwrap() {
            assert_eq!(
                found.insert(event.id, 0),
                None,
                "a processed event is still queued"
            );
        }
    }
    for (id, seq) in acknowledged {
        let there = found
            .get(id)
            .unwrap_or_else(|| panic!("{id} was acknowledged and is gone"));
        assert!(
            *seq == 0 || seq == there,
            "{id} was acknowledged as {seq} and is {there}"
        );
    }
}
