//! What a provider promises, tried with every runtime of this host: what a sandbox sees and may use up,
//! how it stands still, its groups, its end. The same for the provider in this process and for the one
//! behind its keeper.

use std::{fs, time::Duration};

use sandbox::{
    GroupLimits, Phase, ProviderError,
    guest_channel::{GUEST, Guest},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

use crate::{
    resting::stands_still_while_frozen,
    world::{World, chain, id, out, run, spec, until},
};

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
    // Loopback, and what everything else is led to in order to be refused, where the host can.
    let nowhere = !own_kernel && std::path::Path::new("/dev/net/tun").exists();
    assert_eq!(
        out(sandbox, "tail -n +3 /proc/net/dev | cut -d: -f1").await,
        if nowhere { "lo\nnowhere" } else { "lo" }
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
