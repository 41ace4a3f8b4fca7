//! The `oci` provider on this host: every runtime against one contract, what a sandbox can see
//! and use up, and what is left after things were killed.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

#[path = "oci/contract.rs"]
mod contract;
#[path = "oci/escapes.rs"]
mod escapes;
#[path = "oci/isolation.rs"]
mod isolation;
#[path = "oci/resting.rs"]
mod resting;
#[path = "fixtures/world.rs"]
mod world;

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use sandbox::{
    GroupLimits, Mount, Phase, Provider, ProviderError, Rootfs,
    oci::{Oci, RuntimeChoice},
};
use tokio::io::AsyncReadExt;
use world::{World, chain, config, id, is_installed, is_root, out, run, spec};

/// The provider is in the test's own process.
const THROUGH_KEEPER: bool = false;

#[tokio::test(flavor = "multi_thread")]
async fn runtime_that_is_not_there_is_an_error_not_another_runtime() {
    if !is_root() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    for name in ["youki", "docker"] {
        if is_installed(name) && name == "youki" {
            continue;
        }
        let mut config = config(data.path());
        config.runtime = RuntimeChoice::Named(name.to_owned());
        let Err(error) = Oci::probe(config).await else {
            panic!("{name} was accepted")
        };
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_mounts_and_other_roots_are_shown() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let tool = world.data.path().join("tool");
    fs::write(&tool, "#!/bin/sh\necho tool\n").unwrap();
    let tree = world.data.path().join("tree");
    for (path, link) in [
        ("bin", "usr/bin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
    ] {
        fs::create_dir_all(&tree).unwrap();
        std::os::unix::fs::symlink(link, tree.join(path)).unwrap();
    }
    // Enough of a root for a shell: the dynamic loader, its library and dash.
    for file in ["usr/bin/sh", "usr/bin/cat", "usr/bin/id"] {
        copy_with_libraries(&tree, file);
    }
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::write(tree.join("etc/mark"), "tree").unwrap();
    let mut wanted = spec("shown");
    wanted.rootfs = Rootfs::Directory(tree.clone());
    wanted.read_only = vec![Mount {
        source: tool,
        target: "/opt/hostel/claude/1.2.3/claude".into(),
    }];
    let mut sandbox = world
        .provider
        .create(&wanted)
        .await
        .unwrap_or_else(|e| panic!("{}", chain(&e)));
    assert_eq!(out(&mut sandbox, "cat /etc/mark").await, "tree");
    assert_eq!(
        out(&mut sandbox, "sh /opt/hostel/claude/1.2.3/claude").await,
        "tool"
    );
    assert_eq!(
        out(&mut sandbox, "echo x > /workspace/x && cat /workspace/x").await,
        "x"
    );
    assert_ne!(run(&mut sandbox, "echo x > /etc/mark").await.1, 0);
    world.provider.destroy(&id("shown")).await.unwrap();

    let tar = world.data.path().join("tree.tar");
    let made = Command::new("tar")
        .arg("-C")
        .arg(&tree)
        .arg("-cf")
        .arg(&tar)
        .arg(".")
        .status()
        .unwrap();
    assert!(made.success());
    let mut wanted = spec("unpacked");
    wanted.rootfs = Rootfs::Tarball(tar);
    let mut sandbox = world
        .provider
        .create(&wanted)
        .await
        .unwrap_or_else(|e| panic!("{}", chain(&e)));
    assert_eq!(out(&mut sandbox, "cat /etc/mark; id -u").await, "tree1000");
    world.provider.destroy(&id("unpacked")).await.unwrap();
    world.assert_nothing_left().await;
}

fn copy_with_libraries(tree: &std::path::Path, file: &str) {
    let put = |path: &str| {
        let real = fs::canonicalize(path).unwrap();
        let target = tree.join(path.trim_start_matches('/'));
        let target =
            if target.starts_with(tree.join("lib")) || target.starts_with(tree.join("lib64")) {
                tree.join("usr").join(path.trim_start_matches('/'))
            } else {
                target
            };
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(real, target).unwrap();
    };
    put(&format!("/{file}"));
    let listed = Command::new("ldd")
        .arg(format!("/{file}"))
        .output()
        .unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    text.split_whitespace()
        .filter(|word| word.starts_with('/'))
        .for_each(put);
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_specifications_are_refused_before_anything_is_made() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let wrong = |change: &dyn Fn(&mut sandbox::Spec)| {
        let mut spec = spec("wrong");
        change(&mut spec);
        spec
    };
    let mount = |source: &str, target: &str| Mount {
        source: source.into(),
        target: target.into(),
    };
    for spec in [
        wrong(&|spec| spec.rootfs = Rootfs::Directory("/does/not/exist".into())),
        wrong(&|spec| spec.rootfs = Rootfs::Directory("relative".into())),
        wrong(&|spec| spec.hostname = "a\nb".into()),
        wrong(&|spec| spec.resources.memory_bytes = 0),
        wrong(&|spec| spec.resources.pids = 0),
        wrong(&|spec| spec.resources.cpu_millis = 0),
        wrong(&|spec| spec.resources.disk_bytes = 1),
        wrong(&|spec| spec.read_only = vec![mount("/usr", "/opt/hostel/../../etc")]),
        wrong(&|spec| spec.read_only = vec![mount("/usr", "/opt/hostel/guest")]),
        wrong(&|spec| spec.read_only = vec![mount("/usr", "/etc")]),
        wrong(&|spec| spec.read_only = vec![mount("/does/not/exist", "/opt/hostel/x")]),
    ] {
        let refused = world.provider.create(&spec).await;
        assert!(
            matches!(refused, Err(ProviderError::Spec { .. })),
            "{spec:?}"
        );
    }
    world.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sandbox_of_an_earlier_server_is_found_and_removed() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let mut sandbox = world.create("orphan").await;
    // Begun, so that it needs nothing any more of what the later server makes anew.
    out(&mut sandbox, "echo ready").await;
    // A second provider knows nothing but the files.
    let later = Oci::probe(config(world.data.path())).await.unwrap();
    assert_eq!(later.list().await.unwrap()[0].phase, Phase::Running);
    later.destroy(&id("orphan")).await.unwrap();
    assert_eq!(later.list().await.unwrap(), []);
    drop(sandbox);
    world.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_sandbox_of_an_earlier_server_is_removed() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let sandbox = world.create("glacier").await;
    let pid = world.pid("glacier");
    let glacier = id("glacier");
    world
        .provider
        .group(&glacier, "one", GroupLimits::default())
        .await
        .unwrap();
    world.provider.freeze(&glacier, None).await.unwrap();
    // The end of its link, as when its server dies: it cannot notice.
    drop(sandbox);
    let later = Oci::probe(config(world.data.path())).await.unwrap();
    assert_eq!(later.list().await.unwrap()[0].phase, Phase::Running);
    later.destroy(&glacier).await.unwrap();
    assert_eq!(later.list().await.unwrap(), []);
    assert!(!fs::exists(format!("/proc/{pid}")).unwrap());
    world.assert_nothing_left().await;
}

/// The helper is started by hand, killed at a random moment, and what it left is removed.
#[tokio::test(flavor = "multi_thread")]
async fn helper_killed_at_any_moment_leaves_nothing() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let seed = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64;
    eprintln!("seed {seed}");
    let mut state = seed | 1;
    for round in 0..40 {
        // xorshift: any source of scattered delays will do.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let delay = Duration::from_micros(state % 30_000);
        let name = format!("cut-{round}");
        let request = request_like(&world, &name).await;
        let mut helper = Command::new(env!("CARGO_BIN_EXE_sandbox-helper"))
            .arg("sandbox-helper")
            .arg(&request)
            .stdin(
                std::os::unix::net::UnixStream::pair()
                    .map(|(a, _)| std::os::fd::OwnedFd::from(a))
                    .unwrap(),
            )
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        tokio::time::sleep(delay).await;
        let _ = helper.kill();
        helper.wait().unwrap();
        let listed = world.provider.list().await.unwrap();
        assert_eq!(
            (&listed[0].id, listed[0].phase),
            (&id(&name), Phase::HalfMade)
        );
        world.provider.destroy(&id(&name)).await.unwrap();
        world.assert_nothing_left().await;
    }
}

/// The files and groups of a sandbox as they are just before its helper starts: made by the
/// provider, for a sandbox that is then taken down to that state.
async fn request_like(world: &World, name: &str) -> std::path::PathBuf {
    let sandbox = world.create("model").await;
    let text = fs::read_to_string(world.directory("model").join("request.json")).unwrap();
    world.provider.destroy(&id("model")).await.unwrap();
    drop(sandbox);
    let directory = world.directory(name);
    fs::create_dir(&directory).unwrap();
    let template = world.data.path().join("disks");
    let template = fs::read_dir(template)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains(&(64 << 20).to_string()))
        .unwrap();
    let copied = Command::new("cp")
        .arg("--sparse=always")
        .arg(template)
        .arg(directory.join("disk.img"))
        .status();
    assert!(copied.unwrap().success());
    let text = text.replace("model", name);
    let request: serde_json::Value = serde_json::from_str(&text).unwrap();
    for group in request["cgroups"].as_array().unwrap() {
        fs::create_dir_all(group.as_str().unwrap()).unwrap();
    }
    let path = directory.join("request.json");
    fs::write(&path, text).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn runtime_failure_says_why() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let empty = world.data.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let mut wanted = spec("hopeless");
    wanted.rootfs = Rootfs::Directory(empty);
    // The guest is a script, and this root has no shell: the container starts and ends at once.
    if let Ok(mut sandbox) = world.provider.create(&wanted).await {
        let mut rest = Vec::new();
        sandbox.stream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
    }
    world.provider.destroy(&id("hopeless")).await.unwrap();
    world.assert_nothing_left().await;
}

/// Root only to become somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn without_root_a_sandbox_is_made_and_says_what_is_lost() {
    if !is_root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("server");
    fs::copy(env!("CARGO_BIN_EXE_sandbox-helper"), &program).unwrap();
    let data = place.path().join("data");
    fs::create_dir(&data).unwrap();
    std::os::unix::fs::chown(&data, Some(65534), Some(65534)).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(place.path(), open).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .args([&program, &data])
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    if fs::read_to_string("/proc/sys/user/max_user_namespaces").is_ok_and(|text| text.trim() == "0")
    {
        assert!(said.starts_with("refused"), "{said}");
        return;
    }
    assert!(
        output.status.success(),
        "{said} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    for part in [
        "limits: false",
        "memory, cpu and process limits are not kept",
        "own user id",
        "disks are in memory",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "127.0.0.1",
        "written",
        "several members: the sandbox's place for several members cannot be used",
        "left: Ok([])",
    ] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
    assert!(
        !said.contains("MOUNTED") && !said.contains("SHADOW"),
        "{said}"
    );
}
