//! What it costs to save a sandbox's files and to bring them back, against `tar | zstd -1` of the
//! same files outside.

use std::path::Path;
use std::time::{Duration, Instant};

use ::snapshot::{SnapshotId, Snapshots};
use anyhow::{Context, Result, bail};
use sandbox::guest_channel::{GUEST, Guest, Incoming, Output, ProcessSpec};
use sandbox::oci::{Config, Oci};
use sandbox::{Mount, Provider, SandboxId};
use tokio::process::Command;

use crate::quiet::quiet;
use crate::row::{Bound, Row, WARM_UP};
use crate::{Setting, create, files, hosted};

/// This program, inside.
const MYSELF: &str = "/opt/hostel/bench";
/// What is saved.
const ROOT: &str = "/workspace";
/// How many files, and how long one is in the middle: 100 MB.
const FILES: usize = 10_000;
const BYTES: usize = 10_000;
/// What the many small ones are.
const SMALL_FILES: usize = 100_000;
const SMALL_BYTES: usize = 100;
/// What the baseline writes and reads.
const ALL: &str = "all.tar.zst";
/// Restores need a fresh sandbox each, so there are fewer of them.
const RESTORES: usize = 10;

/// Measures saves in turns with the baseline, then restores.
pub async fn run(setting: &Setting) -> Result<Vec<Row>> {
    let data = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(hosted::below(&setting.hostel)?)?;
    let config = Config::new(data.path().join("host"), setting.hostel.clone(), GUEST);
    let provider = Oci::probe(config).await?;
    let snapshots = Snapshots::open(data.path().join("snapshots"), None)?;
    let outside = data.path().join("outside");
    files::make(&outside, FILES, BYTES)?;

    let inside = Inside::make(&provider, "bench-save").await?;
    inside.files("make", FILES, BYTES).await?;
    quiet().await?;
    let (first, mut last) = timed(inside.save(&snapshots, "one", None)).await?;
    let mut times = Times::default();
    for round in 0..WARM_UP + setting.rounds {
        inside.files("change", FILES, round).await?;
        files::change(&outside, FILES, round)?;
        quiet().await?;
        let (ours, theirs);
        if round % 2 == 0 {
            ours = timed(inside.save(&snapshots, "one", Some(&last))).await?;
            theirs = tar(&outside, data.path()).await?;
        } else {
            theirs = tar(&outside, data.path()).await?;
            ours = timed(inside.save(&snapshots, "one", Some(&last))).await?;
        }
        last = ours.1;
        if round >= WARM_UP {
            times.save.push(ours.0);
            times.tar.push(theirs);
            times.written.push(last.written);
        }
    }
    inside.end(&provider).await?;
    for _ in 0..setting.rounds.min(RESTORES) {
        quiet().await?;
        let restored = restore(&provider, &snapshots, &last.id).await?;
        times.restore.push(restored);
        times.untar.push(untar(data.path()).await?);
    }
    let many = many(&provider, &snapshots).await?;
    drop(provider);
    data.close()?;
    Ok(times.rows(first, &many))
}

/// What was measured in rounds.
#[derive(Default)]
struct Times {
    save: Vec<Duration>,
    tar: Vec<Duration>,
    written: Vec<u64>,
    restore: Vec<Duration>,
    untar: Vec<Duration>,
}

impl Times {
    fn rows(&self, first: Duration, many: &[Duration; 3]) -> Vec<Row> {
        let most = 2 * files::CHANGED_BYTES + 256 * 1024;
        let mut written = Row::size(
            "the same: bytes written for 330 changed ones",
            0,
            &[Bound::Median(most as f64 / 1e6)],
        );
        written.ours = self
            .written
            .iter()
            .map(|bytes| *bytes as f64 / 1e6)
            .collect();
        let [save, again, restore] = many.map(|time| [time]);
        vec![
            Row::times(
                "save, 10 files of 10,000 changed",
                &self.save,
                &[Bound::Ratio(0.15)],
            )
            .against("tar | zstd -1 of all", &self.tar),
            written,
            Row::times("save, 10,000 files, 100 MB, the first", &[first], &[])
                .against("tar | zstd -1 of all", &self.tar),
            Row::times(
                "restore, 10,000 files, 100 MB",
                &self.restore,
                &[Bound::Median(500.0)],
            )
            .against("zstd -d | tar -x outside", &self.untar),
            Row::times("save, 100,000 small files, the first", &save, &[]),
            Row::times("the same, nothing changed", &again, &[]),
            Row::times("restore, 100,000 small files", &restore, &[]),
        ]
    }
}

/// The first save of many small files, another one, and a restore.
async fn many(provider: &Oci, snapshots: &Snapshots) -> Result<[Duration; 3]> {
    let inside = Inside::make(provider, "bench-many").await?;
    inside.files("make", SMALL_FILES, SMALL_BYTES).await?;
    quiet().await?;
    let (save, last) = timed(inside.save(snapshots, "many", None)).await?;
    let (again, last) = timed(inside.save(snapshots, "many", Some(&last))).await?;
    inside.end(provider).await?;
    let inside = Inside::make(provider, "bench-many").await?;
    let (restore, ()) = timed(inside.restore(snapshots, "many", &last.id)).await?;
    inside.end(provider).await?;
    Ok([save, again, restore])
}

async fn restore(provider: &Oci, snapshots: &Snapshots, id: &SnapshotId) -> Result<Duration> {
    let inside = Inside::make(provider, "bench-restore").await?;
    let (time, ()) = timed(inside.restore(snapshots, "one", id)).await?;
    inside.end(provider).await?;
    Ok(time)
}

async fn timed<T>(work: impl Future<Output = Result<T>>) -> Result<(Duration, T)> {
    let begun = Instant::now();
    let result = work.await?;
    Ok((begun.elapsed(), result))
}

async fn tar(tree: &Path, data: &Path) -> Result<Duration> {
    shell(
        "tar -C \"$0\" -c . | zstd -1 -q -f -o \"$1\"",
        [tree, &data.join(ALL)],
    )
    .await
}

async fn untar(data: &Path) -> Result<Duration> {
    let into = data.join("untar");
    std::fs::create_dir(&into)?;
    let script = "zstd -d -q -c \"$1\" | tar -C \"$0\" -x";
    let took = shell(script, [&into, &data.join(ALL)]).await?;
    std::fs::remove_dir_all(into)?;
    Ok(took)
}

async fn shell(script: &str, arguments: [&Path; 2]) -> Result<Duration> {
    let begun = Instant::now();
    let mut command = Command::new("sh");
    let status = command
        .args(["-c", script])
        .args(arguments)
        .status()
        .await?;
    if !status.success() {
        bail!("{script} ended with {status}; are tar and zstd installed?");
    }
    Ok(begun.elapsed())
}

/// A sandbox with this program in it.
struct Inside {
    id: SandboxId,
    guest: Guest,
    _incoming: Incoming,
}

impl Inside {
    async fn make(provider: &Oci, name: &str) -> Result<Inside> {
        let id: SandboxId = name.parse()?;
        let mut spec = create::spec(&id);
        spec.read_only = vec![Mount {
            source: hosted::myself()?,
            target: MYSELF.into(),
        }];
        let made = provider.create(&spec).await?;
        let (guest, incoming) = Guest::connect(made.stream).await?;
        Ok(Inside {
            id,
            guest,
            _incoming: incoming,
        })
    }

    async fn files(&self, verb: &str, files: usize, number: usize) -> Result<()> {
        let (files, number) = (files.to_string(), number.to_string());
        let argv = [MYSELF, "files", verb, ROOT, &files, &number];
        let spec = ProcessSpec {
            argv: argv.map(str::to_owned).to_vec(),
            env: Vec::new(),
            cwd: "/".to_owned(),
            terminal: None,
            user: None,
        };
        let (_input, mut output) = self.guest.spawn(spec).await?.split();
        loop {
            match output.next().await?.context("no end was said")? {
                Output::Exit(exit) if exit.success() => return Ok(()),
                Output::Exit(exit) => bail!("making files in the sandbox: {exit}"),
                Output::Stdout(text) | Output::Stderr(text) => {
                    eprint!("{}", String::from_utf8_lossy(&text));
                }
            }
        }
    }

    async fn save(
        &self,
        snapshots: &Snapshots,
        line: &str,
        last: Option<&::snapshot::Saved>,
    ) -> Result<::snapshot::Saved> {
        let since = last.map_or(0, |last| last.since_ns);
        let tree = self.guest.save(vec![ROOT.to_owned()], since, None).await?;
        let parent = last.map(|last| &last.id);
        Ok(snapshots.save(line, parent, u64::MAX, tree).await?)
    }

    async fn restore(&self, snapshots: &Snapshots, line: &str, id: &SnapshotId) -> Result<()> {
        let sink = self.guest.restore(vec![ROOT.to_owned()], None).await?;
        snapshots.restore(line, id, None, sink).await?;
        Ok(())
    }

    async fn end(self, provider: &Oci) -> Result<()> {
        self.guest.close();
        Ok(provider.destroy(&self.id).await?)
    }
}
