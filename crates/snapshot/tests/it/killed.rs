//! `kill -9` at moments picked at random: what was acknowledged and lives is there and whole, and
//! what nobody needs goes with the next collection.
//!
//! This program starts itself again as the one that is killed. It saves, forks, collects and
//! removes as fast as it can and says what it did; before it lets a snapshot die it says so too.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use snapshot::{SnapshotId, Snapshots};

use crate::fixture::{Node, Tree, key, noise, restore};

/// Makes this program the one that is killed; the directory.
const VICTIM: &str = "SNAPSHOT_TEST_VICTIM";
/// Where chance begins; printed, so that a run can be repeated.
const SEED: &str = "SNAPSHOT_TEST_SEED";

const ROUNDS: u64 = 30;
const LINES: [&str; 3] = ["a", "b", "c"];

/// Snapshots by line and name, each with the version of the tree that it holds.
type Live = BTreeMap<(String, SnapshotId), u64>;

struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// Every version changes some of the files.
fn tree(version: u64) -> Tree {
    let mut tree = Tree::default();
    tree.add("w", Node::Dir);
    for file in 0..30 {
        let changed = version.saturating_sub(file) / 30 + u64::from(version % 7 == file % 7);
        let len = 500 + 1000 * (file as usize % 20);
        tree.file(format!("w/f{file:02}"), noise(file * 10_000 + changed, len));
    }
    tree
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let seed: u64 = env::var(SEED)
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .subsec_nanos()
                .into()
        });
    println!("{SEED}={seed}");
    let mut chance = Chance(seed | 1);
    let dir = tempfile::tempdir().unwrap();
    let mut live = Live::new();
    for round in 0..ROUNDS {
        let began = chance.below(u64::MAX);
        let patience = Duration::from_micros(chance.below(150_000));
        let said = killed(dir.path(), &live, began, patience);
        follow(&mut live, &said);
        verify(dir.path(), &live, round);
    }
    assert!(!live.is_empty(), "nothing was ever saved");
}

/// Runs the victim until its time has come, and gives what it said in whole lines.
fn killed(dir: &Path, live: &Live, seed: u64, patience: Duration) -> Vec<String> {
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["--exact", "killed::the_victim", "--nocapture"])
        .env(VICTIM, dir)
        .env(SEED, seed.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = victim.stdin.take().unwrap();
    for ((line, id), version) in live {
        writeln!(input, "{line} {id} {version}").unwrap();
    }
    drop(input);
    let mut output = BufReader::new(victim.stdout.take().unwrap());
    let mut said = Vec::new();
    // Its time begins when it does something.
    while !said.ends_with(b"begun\n") {
        assert!(
            output.read_until(b'\n', &mut said).unwrap() > 0,
            "it ended by itself"
        );
    }
    std::thread::sleep(patience);
    victim.kill().unwrap();
    victim.wait().unwrap();
    said.clear();
    output.read_to_end(&mut said).unwrap();
    let text = String::from_utf8(said).unwrap();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(str::to_owned).collect()
}

/// What lives after what was said.
fn follow(live: &mut Live, said: &[String]) {
    for words in said.iter().map(|line| line.split(' ').collect::<Vec<_>>()) {
        match words[..] {
            ["saved", line, id, version] => {
                live.insert(
                    (line.to_owned(), id.parse().unwrap()),
                    version.parse().unwrap(),
                );
            }
            ["dropping", line, id] => {
                live.remove(&(line.to_owned(), id.parse().unwrap()));
            }
            _ => panic!("{words:?}"),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn verify(dir: &Path, live: &Live, round: u64) {
    let snapshots = Snapshots::open(dir.to_owned(), Some(key())).unwrap();
    for collected in [false, true] {
        for ((line, id), version) in live {
            let restored = restore(&snapshots, line, id).await;
            let (back, _) = restored.unwrap_or_else(|error| {
                panic!("round {round}, {line} {id} collected {collected}: {error:?}")
            });
            assert!(
                back == tree(*version),
                "round {round}: {line} {id} is another tree"
            );
        }
        for line in LINES {
            let ids = of(live, line);
            snapshots.collect(line, &ids).await.unwrap();
            // Afterwards there is nothing that is not needed: a second time finds nothing.
            let again = snapshots.collect(line, &ids).await.unwrap();
            assert_eq!((again.removed, again.freed), (0, 0), "round {round}");
            let left = fs::read_dir(dir.join(line)).into_iter().flatten().flatten();
            let partial =
                left.filter(|file| file.path().extension().is_none_or(|end| end != "pack"));
            assert_eq!(partial.count(), 0, "round {round}: leftovers in {line}");
        }
    }
}

fn of(live: &Live, line: &str) -> Vec<SnapshotId> {
    let here = live.keys().filter(|(of, _)| of == line);
    here.map(|(_, id)| *id).collect()
}

/// Not a test by itself: does nothing unless it was started to be killed.
#[test]
fn the_victim() {
    let Some(dir) = env::var_os(VICTIM) else {
        return;
    };
    let mut live = Live::new();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        live.insert(
            (words[0].to_owned(), words[1].parse().unwrap()),
            words[2].parse().unwrap(),
        );
    }
    let chance = Chance(env::var(SEED).unwrap().parse::<u64>().unwrap() | 1);
    suffer(Path::new(&dir), live, chance);
}

#[tokio::main(flavor = "current_thread")]
async fn suffer(dir: &Path, mut live: Live, mut chance: Chance) {
    let snapshots = Snapshots::open(dir.to_owned(), Some(key())).unwrap();
    println!("begun");
    loop {
        let line = LINES[chance.below(3) as usize];
        let other = LINES[chance.below(3) as usize];
        let here: Vec<(SnapshotId, u64)> = live
            .iter()
            .filter(|((of, _), _)| of == line)
            .map(|((_, id), version)| (*id, *version))
            .collect();
        match chance.below(10) {
            0..5 => {
                let parent = here.iter().max_by_key(|(_, version)| *version);
                let version = parent.map_or(0, |(_, version)| version + 1);
                let before = parent
                    .map(|(_, version)| tree(*version))
                    .unwrap_or_default();
                let source = tree(version).since(&before);
                let saved = snapshots
                    .save(line, parent.map(|(id, _)| id), u64::MAX, &source[..])
                    .await
                    .unwrap();
                println!("saved {line} {} {version}", saved.id);
                live.insert((line.to_owned(), saved.id), version);
            }
            5 => {
                let Some((id, version)) = here.first() else {
                    continue;
                };
                snapshots.fork(line, id, other).await.unwrap();
                println!("saved {other} {id} {version}");
                live.insert((other.to_owned(), *id), *version);
            }
            6 => {
                for (id, _) in &here {
                    println!("dropping {line} {id}");
                    live.remove(&(line.to_owned(), *id));
                }
                snapshots.remove_line(line).await.unwrap();
            }
            _ => {
                let keep = chance.below(4) as usize;
                let dropped: BTreeSet<SnapshotId> =
                    here.iter().map(|(id, _)| *id).skip(keep).collect();
                for id in &dropped {
                    println!("dropping {line} {id}");
                    live.remove(&(line.to_owned(), *id));
                }
                snapshots.collect(line, &of(&live, line)).await.unwrap();
            }
        }
    }
}
