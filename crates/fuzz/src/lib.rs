//! Drives fuzz targets: plain functions that take any bytes and panic when something does not hold.
//!
//! A target is a test of its own crate, so that it sees what is private there, and is named in the
//! table of `xtask/src/fuzz.rs`. Beside it lies its corpus, `tests/corpus/<target>/`, one file for each
//! input. It runs in three ways:
//!
//! ```text
//! cargo test              every file of the corpus, then so many mutated ones, always the same
//! FUZZ_SECONDS=60 …       the same with new mutations for so long; FUZZ_SEED repeats a run
//! cargo xtask fuzz …      libFuzzer, which follows the coverage (built with `--cfg hostel_fuzz`)
//! ```
//!
//! An input that makes a target panic becomes a file of its corpus, so it is tried for ever after.
//!
//! To add one: call [`target!`] in a test with its name and how many mutations a short run makes, put
//! a few real inputs into its corpus, and add a row to the table.
//!
//! It never ships, and knows none of the other crates.

#[cfg(hostel_fuzz)]
mod coverage;
mod mutate;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mutate::{LONGEST, Mutations};

/// Runs a target of the calling crate: its name, how many mutations a short run makes, the function.
#[macro_export]
macro_rules! target {
    ($name:literal, $rounds:expr, $examine:expr) => {
        $crate::run(env!("CARGO_MANIFEST_DIR"), $name, $rounds, $examine)
    };
}

/// The mutations of a short run are the same in each.
const SEED: u64 = 0x686f_7374_656c;

/// Runs a target of the crate in `manifest_dir`; see [`target!`].
///
/// # Panics
/// When the target does, after its input was written to the corpus; and when there is no corpus.
pub fn run(manifest_dir: &str, name: &'static str, rounds: u64, examine: fn(&[u8])) {
    let dir = Path::new(manifest_dir).join("tests/corpus").join(name);
    #[cfg(hostel_fuzz)]
    if coverage::wanted() {
        return coverage::run(&dir, examine);
    }
    let corpus = read(&dir);
    assert!(!corpus.is_empty(), "no corpus in {}", dir.display());
    let seed = variable("FUZZ_SEED").unwrap_or(SEED);
    let until = variable("FUZZ_SECONDS").map(|left| Instant::now() + Duration::from_secs(left));
    for input in &corpus {
        try_one(&dir, seed, input, examine);
    }
    let mut mutations = Mutations::new(seed, &corpus);
    let mut round = 0;
    while until.map_or(round < rounds, |until| Instant::now() < until) {
        try_one(&dir, seed, &mutations.next_input(), examine);
        round += 1;
    }
    println!(
        "{name}: {} files, {round} mutations, seed {seed}",
        corpus.len()
    );
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
    )
}

/// The corpus in a stable order. What is longer than any mutation is tried as well.
fn read(dir: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    paths.sort();
    let read = |path: PathBuf| {
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    paths.into_iter().map(read).collect()
}

fn try_one(dir: &Path, seed: u64, input: &[u8], examine: fn(&[u8])) {
    let _guard = Keep { dir, seed, input };
    examine(input);
}

/// Keeps an input that makes its target panic.
struct Keep<'a> {
    dir: &'a Path,
    seed: u64,
    input: &'a [u8],
}

impl Drop for Keep<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let path = self
            .dir
            .join(format!("crash-{:016x}", mutate::hash(self.input)));
        let kept = fs::write(&path, self.input);
        let kept = kept.map_or_else(|error| format!("not kept: {error}"), |()| "kept".to_owned());
        eprintln!(
            "fuzz: this input fails, {kept}: {} (seed {})",
            path.display(),
            self.seed
        );
    }
}

/// A directory for one input's files, in memory where the machine has such a place.
#[must_use]
pub fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

/// Hands `bytes` out in pieces as a connection would, whose sizes follow from `seed`.
pub fn pieces(bytes: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut state) = (bytes, u64::from(seed) + 1);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let size = (mutate::step(&mut state) % 9 + 1) as usize;
        let (piece, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        Some(piece)
    })
}

/// The longest input that a search makes, in bytes.
pub const INPUT_MAX: usize = LONGEST;
