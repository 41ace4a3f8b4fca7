//! The `oci` provider on this host: every runtime against one contract, what a sandbox can see
//! and use up, and what is left after things were killed.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

#[path = "oci/escapes.rs"]
mod escapes;
#[path = "oci/isolation.rs"]
mod isolation;
#[path = "fixtures/world.rs"]
mod world;

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use sandbox::{
    GroupLimits, Mount, Phase, Provider, ProviderError, Reclaimed, Rootfs,
    guest_channel::{GUEST, Guest},
    oci::{Oci, RuntimeChoice},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};
use world::{World, answer, chain, config, id, is_installed, is_root, out, run, spec, until};

async fn keeps_the_contract(runtime: &str) {
    let Some(world) = World::new(runtime).await else {
        return;
    };
    let mut one = world.create("one").await;
    assert_eq!(out(&mut one, "echo hello").await, "hello");
    let pid = world.pid("one");
    let listed = world.provider.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0].id, listed[0].phase),
        (&id("one"), Phase::Running)
    );
    let again = world.provider.create(&spec("one")).await;
    assert!(matches!(again, Err(ProviderError::InUse { .. })));
    assert_eq!(out(&mut one, "echo still here").await, "still here");
    assert_eq!(
        world.provider.limits(&id("one")).await.unwrap(),
        Default::default()
    );
    introspect(&mut one, runtime == "runsc").await;
    stands_still_while_frozen(&world, &mut one).await;
    world.provider.destroy(&id("one")).await.unwrap();
    world.provider.destroy(&id("one")).await.unwrap();
    world.assert_nothing_left().await;
    // The name is free again.
    world.create("one").await;
    world.provider.destroy(&id("one")).await.unwrap();
    world.provider.destroy(&id("never-was")).await.unwrap();
    assert!(
        !fs::exists(format!("/proc/{pid}")).unwrap(),
        "the first process is not reaped"
    );
    assert!(matches!(
        world.provider.limits(&id("one")).await,
        Err(ProviderError::Absent { .. })
    ));
    world.assert_nothing_left().await;
}

/// What every runtime has to give, seen from inside. A kernel in user space tells less of itself
/// and has its own devices and mounts.
async fn introspect(sandbox: &mut sandbox::Sandbox, own_kernel: bool) {
    let status = out(sandbox, "cat /proc/1/status").await;
    for field in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let none = format!("{field}:\t0000000000000000");
        let untold = own_kernel && !status.contains(field);
        assert!(untold || status.contains(&none), "{status}");
    }
    assert!(own_kernel || status.contains("NoNewPrivs:\t1"), "{status}");
    assert_eq!(out(sandbox, "id -u; id -g").await, "1000\n1000");
    assert_eq!(out(sandbox, "hostname").await, "sandbox");
    assert_eq!(
        out(sandbox, "tail -n +3 /proc/net/dev | cut -d: -f1").await,
        "lo"
    );
    // Up: the address of loopback is routed locally.
    let routes = out(sandbox, "cat /proc/net/fib_trie").await;
    assert!(own_kernel || routes.contains("127.0.0.1"), "{routes}");
    assert_eq!(
        out(sandbox, "ls /home; ls -a /home/agent | tail -n +3").await,
        "agent"
    );
    let controls = if own_kernel {
        "/sys/fs/cgroup/*"
    } else {
        "/sys/fs"
    };
    for secret in [
        "/etc/shadow",
        "/etc/ssh",
        "/root",
        "/var/lib",
        "/run/docker.sock",
        controls,
    ] {
        assert_eq!(
            run(sandbox, &format!("test -e {secret}")).await.1,
            1,
            "{secret} is visible"
        );
    }
    for line in [
        "echo x > /usr/x",
        "echo x > /etc/x",
        "echo x > /opt/hostel/x",
        "mknod /tmp/x b 8 0",
        "echo x > /proc/sys/kernel/core_pattern",
        "cat /dev/kmsg",
        "mount -t tmpfs x /tmp",
        "test -s /proc/kallsyms",
        "test -s /proc/kcore",
        "test -s /proc/keys",
    ] {
        assert_ne!(run(sandbox, line).await.1, 0, "{line} works");
    }
    for place in [
        "/workspace",
        "/tmp",
        "/home/agent",
        "/mnt/session",
        "/dev/shm",
    ] {
        assert_eq!(
            run(sandbox, &format!("echo x > {place}/x && rm {place}/x"))
                .await
                .1,
            0,
            "{place}"
        );
    }
    let list = "for f in /dev/* /dev/pts/*; do test ! -L $f && test -b $f -o -c $f && echo $f; done | sort | tr '\\n' ' '";
    let devices = out(sandbox, list).await;
    // A kernel in user space has this one of its own.
    let devices = devices.replace("/dev/fuse ", if own_kernel { "" } else { "/dev/fuse " });
    let expected = "/dev/full /dev/null /dev/pts/ptmx /dev/random /dev/tty /dev/urandom /dev/zero";
    assert_eq!(devices.trim(), expected);
    assert_eq!(
        out(
            sandbox,
            "ls /proc/self/fd | tr '\\n' ' '; ulimit -c; ulimit -n"
        )
        .await,
        "0 1 2 3 0\n4096"
    );
    let mounts = out(sandbox, "cut -d' ' -f2 /proc/mounts | sort -u").await;
    let known = [
        "/",
        "/dev",
        "/home/agent",
        "/mnt/session",
        "/opt/hostel",
        "/proc",
        "/tmp",
        "/usr",
        "/workspace",
        if own_kernel { "/sys" } else { "/proc" },
    ];
    for mount in mounts.lines() {
        let fits = known.iter().any(|known| {
            mount == *known || (known.len() > 1 && mount.starts_with(&format!("{known}/")))
        });
        assert!(fits, "unexpected mount {mount}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_runtime_keeps_the_contract() {
    keeps_the_contract("embedded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_of_our_own_keep_the_contract() {
    keeps_the_contract("none").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runc_keeps_the_contract() {
    keeps_the_contract("runc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crun_keeps_the_contract() {
    keeps_the_contract("crun").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn youki_keeps_the_contract() {
    keeps_the_contract("youki").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runsc_keeps_the_contract() {
    keeps_the_contract("runsc").await;
}

/// The product's guest, whose needs are others than a shell's.
#[tokio::test(flavor = "multi_thread")]
async fn guest_speaks_out_of_every_runtime() {
    for runtime in ["none", "embedded", "crun", "runc", "youki", "runsc"] {
        let Some(world) = World::with_guest(runtime, GUEST).await else {
            continue;
        };
        let sandbox = world.create("spoken").await;
        let connected = Guest::connect(sandbox.stream).await;
        let (guest, mut incoming) =
            connected.unwrap_or_else(|error| panic!("{runtime}: {}", chain(&error)));
        assert_eq!(guest.hello().uid, 1000, "{runtime}");
        let listening = guest.listen(61_001, "door").await.unwrap();
        assert_eq!(listening.port, 61_001);
        let mut io = guest.dial(61_001).await.unwrap();
        io.write_all(b"knock").await.unwrap();
        let (tag, mut arrived) = incoming.accept().await.unwrap();
        assert_eq!(tag, "door");
        let mut knock = [0; 5];
        arrived.read_exact(&mut knock).await.unwrap();
        assert_eq!(&knock, b"knock", "{runtime}");
        world.provider.freeze(&id("spoken"), None).await.unwrap();
        world.provider.thaw(&id("spoken"), None).await.unwrap();
        assert!(guest.stats().await.unwrap().processes >= 1, "{runtime}");
        world.provider.destroy(&id("spoken")).await.unwrap();
        world.assert_nothing_left().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kernel_in_user_space_keeps_the_limits_as_a_whole() {
    let Some(world) = World::new("runsc").await else {
        return;
    };
    assert!(!world.provider.abilities().groups);
    let mut wanted = spec("whole");
    wanted.resources.memory_bytes = 128 << 20;
    let mut sandbox = world.provider.create(&wanted).await.unwrap();
    let disk =
        "head -c 200m /dev/zero > /workspace/big; stat -c %s /workspace/big; rm /workspace/big";
    let written = out(&mut sandbox, disk).await;
    let written: u64 = written.lines().last().unwrap().parse().unwrap();
    assert!(
        written <= wanted.resources.disk_bytes * 102 / 100,
        "{written}"
    );
    let whole = id("whole");
    let group = world
        .provider
        .group(&whole, "a", GroupLimits::default())
        .await;
    assert!(
        matches!(group, Err(ProviderError::Unable { .. })),
        "{group:?}"
    );
    // Its memory is one program's on the host: used up, all of it ends.
    let eat = b"head -c 400m /dev/zero | tail -c 300m | wc -c\n";
    sandbox.stream.write_all(eat).await.unwrap();
    let mut rest = Vec::new();
    let _ = sandbox.stream.read_to_end(&mut rest).await;
    let hits = world.provider.limits(&id("whole")).await.unwrap();
    assert!(hits.oom_kills >= 1, "{hits:?}");
    world.provider.destroy(&id("whole")).await.unwrap();
    world.assert_nothing_left().await;
}

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
async fn two_sandboxes_have_ids_of_their_own_and_do_not_see_each_other() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let mut first = world.create("first").await;
    let mut second = world.create("second").await;
    let owner = |name: &str| {
        let status = fs::read_to_string(format!("/proc/{}/status", world.pid(name))).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("Uid:"))
            .unwrap()
            .to_owned();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u32>()
            .unwrap()
    };
    let (a, b) = (owner("first"), owner("second"));
    assert!(a >= 600_000_000 && a.abs_diff(b) >= 65_536, "{a} and {b}");
    out(&mut first, "echo mine > /tmp/x; sleep 100 & echo started").await;
    assert_eq!(out(&mut second, "ls /tmp").await, "");
    assert!(
        !out(&mut second, "cat /proc/[0-9]*/cmdline")
            .await
            .contains("sleep")
    );
    world.provider.destroy(&id("first")).await.unwrap();
    assert_eq!(out(&mut second, "echo unharmed").await, "unharmed");
    world.provider.destroy(&id("second")).await.unwrap();
    world.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_limit_kills_and_is_counted() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let mut wanted = spec("greedy");
    wanted.resources.memory_bytes = 64 << 20;
    let mut sandbox = world.provider.create(&wanted).await.unwrap();
    let (_, code) = run(
        &mut sandbox,
        "head -c 200m /dev/zero | tail -c 150m | wc -c",
    )
    .await;
    let hits = world.provider.limits(&id("greedy")).await.unwrap();
    assert!(hits.oom_kills >= 1, "{hits:?}, exit {code}");
    assert_eq!(hits.pids_refused, 0);
    world.provider.destroy(&id("greedy")).await.unwrap();
    world.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn process_limit_refuses_and_is_counted() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let mut wanted = spec("fertile");
    wanted.resources.pids = 16;
    let mut sandbox = world.provider.create(&wanted).await.unwrap();
    run(
        &mut sandbox,
        "i=0; while [ $i -lt 40 ]; do sleep 60 & i=$((i+1)); done; wait",
    )
    .await;
    let hits = world.provider.limits(&id("fertile")).await.unwrap();
    assert!(hits.pids_refused >= 1, "{hits:?}");
    assert_eq!(hits.oom_kills, 0);
    world.provider.destroy(&id("fertile")).await.unwrap();
    world.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disk_is_full_at_its_limit_and_not_before() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let mut sandbox = world.create("writer").await;
    let limit = spec("writer").resources.disk_bytes;
    let (said, code) = run(&mut sandbox, "head -c 200m /dev/zero > /workspace/big").await;
    assert_ne!(code, 0);
    assert!(said.contains("No space left"), "{said}");
    let written: u64 = out(&mut sandbox, "stat -c %s /workspace/big")
        .await
        .parse()
        .unwrap();
    assert!(
        written * 100 >= limit * 98 && written * 100 <= limit * 102,
        "{written} of {limit}"
    );
    let (said, code) = run(&mut sandbox, "head -c 2m /dev/zero > /tmp/y").await;
    assert_ne!(code, 0, "the places share one disk: {said}");
    let (_, code) = run(
        &mut sandbox,
        "rm /workspace/big && head -c 50m /dev/zero > /home/agent/x",
    )
    .await;
    assert_eq!(code, 0);
    world.provider.destroy(&id("writer")).await.unwrap();
    world.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processor_time_is_limited() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let mut wanted = spec("slow");
    wanted.resources.cpu_millis = 200;
    let mut sandbox = world.provider.create(&wanted).await.unwrap();
    let seconds: f64 = out(&mut sandbox,
        "( timeout 3 sh -c 'while :; do :; done'; times ) | tail -1 | tr 'ms' '  ' | awk '{print $2+$4}'")
        .await.parse().unwrap();
    assert!(
        seconds < 1.2,
        "{seconds} seconds of 3 were used, 0.6 are allowed"
    );
    world.provider.destroy(&id("slow")).await.unwrap();
    world.assert_nothing_left().await;
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
async fn killed_first_process_is_seen_as_dead_and_removed() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let mut sandbox = world.create("victim").await;
    run(&mut sandbox, "setsid sleep 100 & setsid sleep 100 &").await;
    let pid = nix::unistd::Pid::from_raw(world.pid("victim"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let mut rest = Vec::new();
    sandbox.stream.read_to_end(&mut rest).await.unwrap();
    until("death", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    })
    .await;
    assert_eq!(world.provider.list().await.unwrap()[0].phase, Phase::Dead);
    world.provider.destroy(&id("victim")).await.unwrap();
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

/// Counts for ever, so that anybody can see whether it runs.
const COUNTER: &str = "while :; do echo x >> /tmp/count; sleep 0.005; done";

async fn stands_still_while_frozen(world: &World, sandbox: &mut sandbox::Sandbox) {
    let (provider, id) = (&world.provider, sandbox.id.clone());
    out(
        sandbox,
        &format!("(setsid sh -c '{COUNTER}') </dev/null >/dev/null 2>&1 & echo started"),
    )
    .await;
    for _ in 0..2 {
        provider.freeze(&id, None).await.unwrap();
        provider.freeze(&id, None).await.unwrap();
        let before = provider.footprints(&id).await.unwrap();
        assert!(before.sandbox.memory_bytes > 0, "{before:?}");
        assert!(!before.sandbox.processor_time.is_zero(), "{before:?}");
        // A frozen guest answers nothing.
        let asked = run(sandbox, "echo awake");
        let early = tokio::time::timeout(Duration::from_millis(200), asked).await;
        assert!(early.is_err(), "it answered: {early:?}");
        let after = provider.footprints(&id).await.unwrap();
        assert_eq!(
            before.sandbox.processor_time, after.sandbox.processor_time,
            "something runs"
        );
        provider.thaw(&id, None).await.unwrap();
        provider.thaw(&id, None).await.unwrap();
        assert_eq!(answer(sandbox).await, ("awake\n".to_owned(), 0));
    }
    let lines = "until test -s /tmp/count; do sleep 0.01; done; wc -l < /tmp/count";
    let lines: u64 = out(sandbox, lines).await.parse().unwrap();
    let more = format!("until test $(wc -l < /tmp/count) -gt {lines}; do sleep 0.01; done");
    assert_eq!(run(sandbox, &more).await.1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_sandbox_can_be_destroyed_and_an_absent_one_not_be_frozen() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let sandbox = world.create("icy").await;
    let (provider, icy) = (&world.provider, id("icy"));
    provider.freeze(&icy, None).await.unwrap();
    provider.destroy(&icy).await.unwrap();
    drop(sandbox);
    world.assert_nothing_left().await;
    for outcome in [
        provider.freeze(&icy, None).await,
        provider.thaw(&icy, None).await,
        provider.footprints(&icy).await.map(drop),
        provider.reclaim(&icy).await.map(drop),
        provider.group(&icy, "a", GroupLimits::default()).await,
        provider.join(&icy, "a", 1).await,
        provider.group_limits(&icy, "a").await.map(drop),
        provider.kill_group(&icy, "a").await,
    ] {
        assert!(
            matches!(outcome, Err(ProviderError::Absent { .. })),
            "{outcome:?}"
        );
    }
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

/// Starts a shell that runs `line` in a session of its own, and tells its number inside.
async fn start(sandbox: &mut sandbox::Sandbox, line: &str) -> u32 {
    let started = format!(
        "setsid sh -c 'echo $$ > /tmp/pid; {line}' </dev/null >/dev/null 2>&1 & \
         until test -s /tmp/pid; do sleep 0.01; done; cat /tmp/pid; rm /tmp/pid"
    );
    out(sandbox, &started).await.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_frozen_measured_and_killed_apart() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let mut sandbox = world.create("shared").await;
    let (provider, shared) = (&world.provider, id("shared"));
    for name in ["left", "right"] {
        let none = provider.join(&shared, name, 1).await;
        assert!(
            matches!(none, Err(ProviderError::NoGroup { .. })),
            "{none:?}"
        );
        let limits = GroupLimits {
            memory_bytes: Some(64 << 20),
        };
        provider.group(&shared, name, limits).await.unwrap();
        provider
            .group(&shared, name, GroupLimits::default())
            .await
            .unwrap();
    }
    // The counting is a descendant's work.
    let left = start(&mut sandbox, &format!("({COUNTER}) & wait")).await;
    let right = start(
        &mut sandbox,
        "while :; do echo x >> /tmp/other; sleep 0.005; done",
    )
    .await;
    provider.join(&shared, "left", left).await.unwrap();
    provider.join(&shared, "left", left).await.unwrap();
    provider.join(&shared, "right", right).await.unwrap();
    let nobody = provider.join(&shared, "left", 999_999).await;
    assert!(
        matches!(nobody, Err(ProviderError::NoProcess { .. })),
        "{nobody:?}"
    );

    provider.freeze(&shared, Some("left")).await.unwrap();
    let count = "touch /tmp/count /tmp/other; wc -l < /tmp/count; wc -l < /tmp/other";
    let counts = |text: String| -> Vec<u64> {
        text.lines()
            .map(|line| line.trim().parse().unwrap())
            .collect()
    };
    let before = counts(out(&mut sandbox, count).await);
    let after = counts(out(&mut sandbox, &format!("sleep 0.3; {count}")).await);
    assert_eq!(before[0], after[0], "the frozen group goes on");
    assert!(before[1] < after[1], "the other group stands still");
    let taken = provider.footprints(&shared).await.unwrap();
    assert_eq!(taken.groups.keys().collect::<Vec<_>>(), ["left", "right"]);
    assert!(
        taken
            .groups
            .values()
            .all(|group| !group.processor_time.is_zero()),
        "{taken:?}"
    );
    assert!(taken.sandbox.processor_time >= taken.groups["right"].processor_time);

    // Frozen as a whole, it stays so while one group dies.
    provider.freeze(&shared, None).await.unwrap();
    provider.kill_group(&shared, "left").await.unwrap();
    provider.kill_group(&shared, "left").await.unwrap();
    let taken = provider.footprints(&shared).await.unwrap();
    assert_eq!(taken.groups.keys().collect::<Vec<_>>(), ["right"]);
    let still = provider.footprints(&shared).await.unwrap();
    assert_eq!(taken.sandbox.processor_time, still.sandbox.processor_time);
    provider.thaw(&shared, None).await.unwrap();
    assert_eq!(run(&mut sandbox, &format!("kill -0 {left}")).await.1, 1);
    assert_eq!(run(&mut sandbox, &format!("kill -0 {right}")).await.1, 0);
    let before = counts(out(&mut sandbox, count).await);
    let after = counts(out(&mut sandbox, &format!("sleep 0.3; {count}")).await);
    assert_eq!(before[0], after[0]);
    assert!(before[1] < after[1]);
    // With a group that is frozen by itself.
    provider.freeze(&shared, Some("right")).await.unwrap();
    provider.destroy(&shared).await.unwrap();
    world.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn group_at_its_memory_limit_dies_alone() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let mut sandbox = world.create("hungry").await;
    let (provider, hungry) = (&world.provider, id("hungry"));
    for name in ["big", "small"] {
        let limits = GroupLimits {
            memory_bytes: Some(32 << 20),
        };
        provider.group(&hungry, name, limits).await.unwrap();
    }
    let eater = "until test -e /tmp/go; do sleep 0.01; done; head -c 200m /dev/zero | tail -c 150m | wc -c; sleep 60";
    let big = start(&mut sandbox, eater).await;
    let small = start(&mut sandbox, "sleep 60").await;
    provider.join(&hungry, "big", big).await.unwrap();
    provider.join(&hungry, "small", small).await.unwrap();
    out(&mut sandbox, "touch /tmp/go").await;
    let start = std::time::Instant::now();
    while provider
        .group_limits(&hungry, "big")
        .await
        .unwrap()
        .oom_kills
        == 0
    {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "nothing was killed"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        provider.group_limits(&hungry, "small").await.unwrap(),
        Default::default()
    );
    assert!(provider.limits(&hungry).await.unwrap().oom_kills >= 1);
    provider.kill_group(&hungry, "big").await.unwrap();
    assert_ne!(run(&mut sandbox, &format!("kill -0 {big}")).await.1, 0);
    assert_eq!(run(&mut sandbox, &format!("kill -0 {small}")).await.1, 0);
    for name in ["Big", "../x", "_guest", ""] {
        let refused = provider.group(&hungry, name, GroupLimits::default()).await;
        assert!(matches!(refused, Err(ProviderError::Spec { .. })), "{name}");
    }
    provider.destroy(&hungry).await.unwrap();
    world.assert_nothing_left().await;
}

/// The kernel's word for a sandbox's limit of the processor.
fn quota(world: &World, name: &str) -> String {
    let directory = world.data.path().join("sandboxes").join(name);
    let request = fs::read_to_string(directory.join("request.json")).unwrap();
    let request: serde_json::Value = serde_json::from_str(&request).unwrap();
    let groups = request["cgroups"].as_array().unwrap().iter();
    let files = groups.flat_map(|group| {
        let group = Path::new(group.as_str().unwrap());
        ["cpu.cfs_quota_us", "cpu.max", "../cpu.max"].map(|file| group.join(file))
    });
    let text = files
        .filter_map(|file| fs::read_to_string(file).ok())
        .next();
    let text = text.expect("a limit of the processor is kept here");
    text.split_whitespace().next().unwrap().replace("max", "-1")
}

#[tokio::test(flavor = "multi_thread")]
async fn limit_of_the_processor_can_be_lifted_for_a_while() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let sandbox = world.create("hasty").await;
    let (provider, hasty) = (&world.provider, id("hasty"));
    let usual = quota(&world, "hasty");
    let millis = spec("hasty").resources.cpu_millis;
    for (asked, told) in [
        (None, "-1".to_owned()),
        (Some(250), "250000".to_owned()),
        (Some(millis), usual),
    ] {
        provider.limit_processor(&hasty, asked).await.unwrap();
        assert_eq!(quota(&world, "hasty"), told);
    }
    provider.destroy(&hasty).await.unwrap();
    drop(sandbox);
    let absent = provider.limit_processor(&hasty, None).await;
    assert!(matches!(absent, Err(ProviderError::Absent { .. })));
    world.assert_nothing_left().await;
}

/// With swap the memory is given back and is still there afterwards; without, it says so.
#[tokio::test(flavor = "multi_thread")]
async fn memory_of_a_frozen_sandbox_is_reclaimed_where_there_is_swap() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let mut sandbox = world.create("sleeper").await;
    let (provider, sleeper) = (&world.provider, id("sleeper"));
    // A shell's variable: memory that belongs to no file.
    let fill = r#"x=$(head -c 8m /dev/zero | tr "\0" x)"#;
    start(&mut sandbox, &format!("{fill}; touch /tmp/full; until test -e /tmp/go; do sleep 0.01; done; echo ${{#x}} > /tmp/length")).await;
    out(&mut sandbox, "until test -e /tmp/full; do sleep 0.01; done").await;
    provider.freeze(&sleeper, None).await.unwrap();
    let before = provider.footprints(&sleeper).await.unwrap().sandbox;
    let reclaimed = provider.reclaim(&sleeper).await.unwrap();
    let after = provider.footprints(&sleeper).await.unwrap().sandbox;
    eprintln!("{before:?}, {reclaimed:?}, {after:?}");
    let has_swap = fs::read_to_string("/proc/swaps").unwrap().lines().count() > 1;
    if has_swap {
        let Reclaimed::Bytes(bytes) = reclaimed else {
            panic!("{reclaimed:?}")
        };
        assert!(bytes > 6 << 20, "{bytes}");
        assert!(after.swap_bytes > 6 << 20, "{after:?}");
    } else {
        assert_eq!(reclaimed, Reclaimed::NoSwap);
    }
    provider.thaw(&sleeper, None).await.unwrap();
    let length = "touch /tmp/go; until test -s /tmp/length; do sleep 0.01; done; cat /tmp/length";
    assert_eq!(out(&mut sandbox, length).await, (8 << 20).to_string());
    provider.destroy(&sleeper).await.unwrap();
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
async fn twenty_at_once_all_work_and_all_go() {
    let Some(world) = World::embedded().await else {
        return;
    };
    let mut making = JoinSet::new();
    for number in 0..20 {
        let provider = world.provider.clone();
        making.spawn(async move {
            let name = format!("many-{number}");
            let mut sandbox = provider
                .create(&spec(&name))
                .await
                .unwrap_or_else(|e| panic!("{}", chain(&e)));
            assert_eq!(out(&mut sandbox, "echo $((6*7))").await, "42");
            sandbox
        });
    }
    let made = making.join_all().await;
    assert_eq!(made.len(), 20);
    assert_eq!(world.provider.list().await.unwrap().len(), 20);
    let mut going = JoinSet::new();
    for sandbox in made {
        let provider = world.provider.clone();
        going.spawn(async move { provider.destroy(&sandbox.id).await.unwrap() });
    }
    going.join_all().await;
    world.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_creation_can_be_destroyed() {
    let Some(world) = World::embedded().await else {
        return;
    };
    // The first one makes the template for its disk size, which is no part of it.
    world.create("first").await;
    world.provider.destroy(&id("first")).await.unwrap();
    for round in 0..10 {
        let name = format!("dropped-{round}");
        let wanted = spec(&name);
        let limit = Duration::from_millis(round * 3);
        let _ = tokio::time::timeout(limit, world.provider.create(&wanted)).await;
        world.provider.destroy(&id(&name)).await.unwrap();
        world.assert_nothing_left().await;
    }
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
