//! A sandbox, from the call to a guest that answers, against `bwrap` and `runc` that run `true` on
//! the same root file system; the same at the level `gvisor` against `runsc`; and against itself
//! without its walls inside, and behind its keeper.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sandbox::guest_channel::{GUEST, Guest};
use sandbox::keeper::{Bounds, Remote, launch};
use sandbox::oci::{Config, Oci, RuntimeChoice};
use sandbox::{DiskLimit, Isolation, Provider, Resources, Rootfs, Sandbox, SandboxId, Spec};
use serde_json::json;
use tokio::process::Command;

use crate::Setting;
use crate::hosted::below;
use crate::quiet::quiet;
use crate::row::{Bound, Row, WARM_UP};

/// One of these is short; more of them make the median steady.
const TIMES: usize = 2;

const BWRAP: [&str; 21] = [
    "--unshare-all",
    "--ro-bind",
    "/usr",
    "/usr",
    "--symlink",
    "usr/bin",
    "/bin",
    "--symlink",
    "usr/lib",
    "/lib",
    "--symlink",
    "usr/lib64",
    "/lib64",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--tmpfs",
    "/tmp",
    "--",
    "true",
];

/// Measures all sides in turns; making away with ours is outside the time.
pub async fn run(setting: &Setting) -> Result<Vec<Row>> {
    let home = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(below(&setting.hostel)?)?;
    let provider = |name: &str, disk| {
        let data = home.path().join(name);
        let mut config = Config::new(data, setting.hostel.clone(), GUEST);
        config.disk = disk;
        Oci::probe(config)
    };
    std::fs::create_dir_all(home.path().join("usual"))?;
    std::fs::create_dir_all(home.path().join("open"))?;
    let usual = provider("usual", None).await?;
    let open = provider("open", Some(DiskLimit::Tmpfs)).await?;
    let data = home.path().join("kept");
    std::fs::create_dir_all(&data)?;
    let kept = launch(
        &setting.hostel,
        &["text", "warn"],
        &bounds(data.canonicalize()?),
    )?;
    let (mut keeper, kept) = (kept.process, Remote::begin(kept.socket).await?);
    let bundle = tempfile::tempdir()?;
    let runc = bundle_for_true(bundle.path(), &home.path().join("usual")).await?;
    let runsc = runc && exists("runsc").await;
    if !exists("bwrap").await {
        bail!("bwrap is not installed: `apt-get install bubblewrap`");
    }
    let mut seen = Seen::default();
    for round in 0..WARM_UP + setting.rounds * TIMES {
        quiet().await?;
        let mut one = Seen::default();
        let (took, _) = create(&usual, round, None).await?;
        one.ours.push(took);
        let (took, _) = create(&kept, round, None).await?;
        one.kept.push(took);
        let (took, confined) = create(&open, round, None).await?;
        one.open.push(took.saturating_sub(confined));
        one.bwrap
            .push(time(Command::new("bwrap").args(BWRAP)).await?);
        let name = format!("hostel-bench-{}-{round}", std::process::id());
        if runc {
            let mut command = Command::new("runc");
            command
                .args(["run", "--bundle"])
                .arg(bundle.path())
                .arg(&name);
            one.runc.push(time(&mut command).await?);
        }
        // A second each, so once for each pair.
        if runsc && round % TIMES == 0 {
            let (took, _) = create(&usual, round, Some(Isolation::Gvisor)).await?;
            one.gvisor.push(took);
            let mut command = Command::new("runsc");
            command.args(RUNSC).arg(home.path().join("runsc"));
            command
                .args(["run", "--bundle"])
                .arg(bundle.path())
                .arg(&name);
            one.runsc.push(time(&mut command).await?);
        }
        if round >= WARM_UP {
            seen.add(one);
        }
    }
    drop((usual, open, kept));
    keeper.wait()?;
    home.close()?;
    Ok(seen.rows())
}

/// How `runsc` is used by us, up to where its state is.
const RUNSC: [&str; 3] = ["--network=none", "--platform=systrap", "--root"];

/// The samples of every side.
#[derive(Default)]
struct Seen {
    ours: Vec<Duration>,
    kept: Vec<Duration>,
    /// Ours with its disk in memory, less what its guest took to confine itself.
    open: Vec<Duration>,
    bwrap: Vec<Duration>,
    runc: Vec<Duration>,
    gvisor: Vec<Duration>,
    runsc: Vec<Duration>,
}

impl Seen {
    fn add(&mut self, one: Seen) {
        self.ours.extend(one.ours);
        self.kept.extend(one.kept);
        self.open.extend(one.open);
        self.bwrap.extend(one.bwrap);
        self.runc.extend(one.runc);
        self.gvisor.extend(one.gvisor);
        self.runsc.extend(one.runsc);
    }

    fn rows(&self) -> Vec<Row> {
        let what = "sandbox, create → guest ready";
        let ours = |bound| Row::times(what, &self.ours, &[bound]);
        let mut rows = vec![
            ours(Bound::Ratio(3.0)).against("bwrap true", &self.bwrap),
            ours(Bound::Added(5.0))
                .against("without seccomp, Landlock and a disk quota", &self.open),
        ];
        rows.push(
            Row::times(
                "sandbox behind its keeper, create → guest ready",
                &self.kept,
                &[Bound::Added(0.5)],
            )
            .against("made in the same process", &self.ours),
        );
        if !self.runc.is_empty() {
            rows.push(ours(Bound::Ratio(1.0)).against("runc run true", &self.runc));
        }
        let what = "sandbox at level gvisor, create → guest ready";
        rows.push(match self.runsc.is_empty() {
            true => Row::missing(what, "needs runsc and runc (packages of these names)"),
            false => Row::times(what, &self.gvisor, &[Bound::Ratio(1.15)])
                .against("runsc run true", &self.runsc),
        });
        rows
    }
}

/// How long a sandbox takes, and what of it its guest took to confine itself.
async fn create(
    provider: &dyn Provider,
    round: usize,
    isolation: Option<Isolation>,
) -> Result<(Duration, Duration)> {
    let id: SandboxId = format!("bench-{round}").parse()?;
    let spec = Spec {
        isolation,
        ..spec(&id)
    };
    let begun = Instant::now();
    let Sandbox { stream, .. } = provider.create(&spec).await?;
    let (guest, incoming) = Guest::connect(stream).await?;
    let took = begun.elapsed();
    let confined = Duration::from_micros(guest.stats().await?.confined_us);
    guest.close();
    drop((guest, incoming));
    provider.destroy(&id).await?;
    Ok((took, confined))
}

/// What a keeper for this measurement lets be made.
fn bounds(data: std::path::PathBuf) -> Bounds {
    Bounds {
        data,
        runtime: RuntimeChoice::Embedded,
        disk: None,
        roots: vec![Rootfs::Host],
        shown: Vec::new(),
        most: Resources::default(),
        sandboxes: 8,
    }
}

/// The sandbox that a server makes.
pub fn spec(id: &SandboxId) -> Spec {
    Spec {
        id: id.clone(),
        rootfs: Rootfs::Host,
        resources: Resources::default(),
        read_only: Vec::new(),
        trusted: None,
        hostname: "sandbox".to_owned(),
        members: false,
        isolation: None,
    }
}

async fn time(command: &mut Command) -> Result<Duration> {
    let begun = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .await?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(begun.elapsed())
}

async fn exists(program: &str) -> bool {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

/// `runc spec`, with the root that our sandboxes have and `true`; false when there is no runc.
async fn bundle_for_true(directory: &Path, data: &Path) -> Result<bool> {
    if !exists("runc").await {
        return Ok(false);
    }
    let status = Command::new("runc")
        .arg("spec")
        .current_dir(directory)
        .status()
        .await?;
    if !status.success() {
        bail!("runc spec ended with {status}");
    }
    let path = directory.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let root = std::fs::read_dir(data.join("rootfs"))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains("/host-"))
        .context("the provider made no root file system")?;
    config["root"] = json!({ "path": root, "readonly": true });
    config["process"]["args"] = json!(["true"]);
    config["process"]["terminal"] = json!(false);
    if let Some(mounts) = config["mounts"].as_array_mut() {
        // runc cannot mount control groups below a root that it does not own.
        mounts.retain(|mount| mount["type"] != "cgroup");
        mounts.push(json!({"destination": "/usr", "source": "/usr", "type": "bind", "options": ["bind", "ro"]}));
    }
    std::fs::write(&path, config.to_string())?;
    Ok(true)
}
