//! A sandbox, from the call to a guest that answers, against `bwrap` and `runc` that run `true` on
//! the same root file system.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sandbox::guest_channel::{GUEST, Guest};
use sandbox::oci::{Config, Oci};
use sandbox::{Provider, Resources, Rootfs, Sandbox, SandboxId, Spec};
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

/// Measures all three in turns; making away with ours is outside the time.
pub async fn run(setting: &Setting) -> Result<Vec<Row>> {
    let data = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(below(&setting.hostel)?)?;
    let provider = Oci::probe(Config::new(
        data.path().to_owned(),
        setting.hostel.clone(),
        GUEST,
    ))
    .await?;
    let bundle = tempfile::tempdir()?;
    let runc = runc_bundle(bundle.path(), data.path()).await?;
    let bwrap = exists("bwrap").await;
    if !bwrap {
        bail!("bwrap is not installed: `apt-get install bubblewrap`");
    }
    let (mut ours, mut theirs, mut rivals) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..WARM_UP + setting.rounds * TIMES {
        quiet().await?;
        let measured = create(&provider, round).await?;
        let bwrap = time(Command::new("bwrap").args(BWRAP)).await?;
        let rival = if runc {
            let name = format!("hostel-bench-{}-{round}", std::process::id());
            Some(
                time(
                    Command::new("runc")
                        .args(["run", "--bundle"])
                        .arg(bundle.path())
                        .arg(name),
                )
                .await?,
            )
        } else {
            None
        };
        if round >= WARM_UP {
            ours.push(measured);
            theirs.push(bwrap);
            rivals.extend(rival);
        }
    }
    drop(provider);
    data.close()?;
    let mut rows = vec![
        Row::times("sandbox, create → guest ready", &ours, &[Bound::Ratio(3.0)])
            .against("bwrap true", &theirs),
    ];
    if runc {
        rows.push(
            Row::times("sandbox, create → guest ready", &ours, &[Bound::Ratio(1.0)])
                .against("runc run true", &rivals),
        );
    }
    Ok(rows)
}

async fn create(provider: &Oci, round: usize) -> Result<Duration> {
    let id: SandboxId = format!("bench-{round}").parse()?;
    let spec = spec(&id);
    let begun = Instant::now();
    let Sandbox { stream, .. } = provider.create(&spec).await?;
    let (guest, incoming) = Guest::connect(stream).await?;
    let took = begun.elapsed();
    guest.close();
    drop((guest, incoming));
    provider.destroy(&id).await?;
    Ok(took)
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
async fn runc_bundle(directory: &Path, data: &Path) -> Result<bool> {
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
