//! Times making sandboxes against `bwrap` and `runc` on the same root file system, in turns
//! within one run, because absolute times drift.
//!
//! `cargo run --release -p sandbox --example create -- [rounds] [embedded|runc|crun]`, as root.

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use sandbox::{
    Provider, Resources, Rootfs, SandboxId, Spec,
    oci::{self, Config, HELPER_COMMAND, Oci, RuntimeChoice},
};
use tokio::io::AsyncReadExt;

/// A program that needs no shell to start would be faster; the real guest is one.
const STAND_IN: &[u8] = b"#!/bin/sh\necho >&0\nread line\n";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if arguments
        .first()
        .is_some_and(|first| first == HELPER_COMMAND)
    {
        return oci::helper_main(&arguments[1..]);
    }
    let rounds = arguments
        .first()
        .and_then(|n| n.to_str()?.parse().ok())
        .unwrap_or(40);
    let runtime = arguments
        .get(1)
        .and_then(|name| name.to_str())
        .unwrap_or("embedded")
        .to_owned();
    let guest = arguments
        .get(2)
        .map(|path| std::fs::read(path).expect("the guest can be read"));
    let guest: &'static [u8] = guest.map_or(STAND_IN, |bytes| Vec::leak(bytes));
    let threads = tokio::runtime::Runtime::new().expect("a runtime starts");
    match threads.block_on(measure(rounds, &runtime, guest)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}: {:?}", error.source().map(ToString::to_string));
            ExitCode::FAILURE
        }
    }
}

async fn measure(rounds: u32, runtime: &str, guest: &'static [u8]) -> Result<(), Box<dyn Error>> {
    let data = tempfile::tempdir()?;
    let mut config = Config::new(data.path().to_owned(), std::env::current_exe()?, guest);
    if runtime != "embedded" {
        config.runtime = RuntimeChoice::Named(runtime.to_owned());
    }
    let provider = Oci::probe(config).await?;
    println!("{:?}", provider.abilities());
    let bundle = tempfile::tempdir()?;
    let runc = runc_bundle(bundle.path(), data.path())?;
    let (mut ours, mut returned, mut gone, mut bwrap, mut rivals) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let id: SandboxId = format!("bench-{round}").parse()?;
        let spec = Spec {
            id: id.clone(),
            rootfs: Rootfs::Host,
            resources: Resources::default(),
            read_only: Vec::new(),
            trusted: None,
            hostname: "bench".to_owned(),
            members: false,
            isolation: None,
        };
        let start = Instant::now();
        let mut sandbox = provider.create(&spec).await?;
        returned.push(start.elapsed());
        if guest == STAND_IN {
            sandbox.stream.read_u8().await?;
        }
        ours.push(start.elapsed());
        let start = Instant::now();
        provider.destroy(&id).await?;
        gone.push(start.elapsed());
        bwrap.push(run(Command::new("bwrap")
            .args(["--unshare-all", "--ro-bind", "/usr", "/usr"])
            .args([
                "--symlink",
                "usr/bin",
                "/bin",
                "--symlink",
                "usr/lib",
                "/lib",
            ])
            .args([
                "--symlink",
                "usr/lib64",
                "/lib64",
                "--proc",
                "/proc",
                "--dev",
                "/dev",
                "true",
            ]))?);
        if runc {
            let name = format!("hostel-bench-{round}");
            rivals.push(run(Command::new("runc")
                .arg("run")
                .arg("--bundle")
                .arg(bundle.path())
                .arg(name))?);
        }
    }
    show("create returned", returned);
    show("first byte from inside", ours);
    show("destroy", gone);
    show("bwrap true", bwrap);
    show("runc run true", rivals);
    Ok(())
}

fn run(command: &mut Command) -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(format!("{command:?} ended with {status}").into());
    }
    Ok(start.elapsed())
}

/// `runc spec`, with the root that our sandboxes have and `true`.
fn runc_bundle(directory: &Path, data: &Path) -> Result<bool, Box<dyn Error>> {
    let spec = Command::new("runc")
        .arg("spec")
        .current_dir(directory)
        .status();
    if !spec.is_ok_and(|status| status.success()) {
        return Ok(false);
    }
    let path = directory.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    config["root"] = serde_json::json!({ "path": host_root(data)?, "readonly": true });
    config["process"]["args"] = serde_json::json!(["true"]);
    config["process"]["terminal"] = false.into();
    // runc cannot mount control groups below a root it does not own.
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.retain(|mount| mount["type"] != "cgroup");
        mounts.push(serde_json::json!({
            "destination": "/usr", "source": "/usr", "type": "bind", "options": ["bind", "ro"],
        }));
    }
    std::fs::write(&path, config.to_string())?;
    Ok(true)
}

fn host_root(data: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let roots = std::fs::read_dir(data.join("rootfs"))?
        .flatten()
        .map(|entry| entry.path());
    let host = |path: &PathBuf| path.to_string_lossy().contains("/host-");
    roots
        .into_iter()
        .find(host)
        .ok_or_else(|| "the provider made no root".into())
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let Some(median) = times.get(times.len() / 2) else {
        return;
    };
    let least = times[0];
    let high = times[times.len() * 95 / 100];
    println!("{what:24} median {median:>9.2?}  least {least:>9.2?}  p95 {high:>9.2?}");
}
