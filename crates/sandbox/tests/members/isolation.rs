//! What one member can learn of another, and do to it: nothing.

use crate::house::{House, Member, drain};

/// What every runtime has to give.
async fn a_member_is_a_user_of_its_own(house: &House) {
    let ann = house.member(0).await;
    let who = house
        .out(&ann, "id -u; id -g; id -G; id -un; umask; pwd")
        .await;
    assert_eq!(who, "2000\n2000\n2000 1999\nmember2000\n0077\n/home/m0");
    let status = house.out(&ann, "cat /proc/self/status").await;
    for set in ["Inh", "Prm", "Eff", "Bnd", "Amb"] {
        let line = format!("Cap{set}:\t0000000000000000");
        assert!(status.contains(&line), "{line} is not in {status}");
    }
    for line in [
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "Uid:\t2000\t2000\t2000\t2000",
        "Gid:\t2000\t2000\t2000\t2000",
    ] {
        assert!(status.contains(line), "{line} is not in {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_a_user_of_its_own_without_any_capability() {
    for runtime in ["none", "embedded", "runc", "crun"] {
        let Some(house) = House::with(runtime, None).await else {
            continue;
        };
        a_member_is_a_user_of_its_own(&house).await;
        nothing_of_a_process_is_seen(&house).await;
        house.leave().await;
    }
}

/// Says in one line what a script could do that it must not.
async fn assert_refused(house: &House, member: &Member, attempts: &[String]) {
    for attempt in attempts {
        let done = house.sh(member, attempt).await;
        assert!(!done.exit.success(), "{attempt} worked: {done:?}");
        assert!(!done.text.contains("secret"), "{attempt}: {done:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_another_member_cannot_be_reached_or_listed() {
    let Some(house) = House::new().await else {
        return;
    };
    let (ann, bob) = (house.member(0).await, house.member(1).await);
    let mut places = vec![ann.home.clone()];
    for below in ["/workspace", "/tmp", "/mnt/session"] {
        let path = format!("{below}/of-ann");
        let made = house.guest.make_dir(&path, 0o700, Some(ann.user.clone()));
        made.await.unwrap();
        places.push(path);
    }
    for place in &places {
        // Open modes do not help: the directory is closed.
        let script =
            format!("cd {place} && echo secret > file && chmod 666 file && mkdir d && chmod 777 d");
        house.out(&ann, &script).await;
        let attempts = [
            format!("ls {place}"),
            format!("cat {place}/file"),
            format!("stat {place}/file"),
            format!("echo x >> {place}/file"),
            format!("echo x > {place}/d/x"),
            format!("ln {place}/file {}/link", bob.home),
            format!("cd {place}"),
            format!("rmdir {place} || mv {place} {place}2"),
            format!("chmod 777 {place}"),
        ];
        assert_refused(&house, &bob, &attempts).await;
    }
    // Not even which names there are.
    for above in ["/home", "/workspace", "/tmp", "/mnt/session", "/dev/shm"] {
        assert_refused(&house, &bob, &[format!("ls {above}")]).await;
    }
    for above in ["/home", "/workspace", "/mnt/session"] {
        assert_refused(&house, &bob, &[format!("mkdir {above}/x")]).await;
    }
    house.leave().await;
}

/// A process of one member, seen by another.
async fn nothing_of_a_process_is_seen(house: &House) {
    let (ann, bob) = (house.member(0).await, house.member(1).await);
    let script = "x=secret-in-memory; exec 7< /etc/passwd; echo ready; sleep 1000 & wait";
    let (_input, _output, pid) = house.ready(&ann, script).await;
    let seen = house.out(&bob, "stat -c %u /proc/[0-9]*; ps -A").await;
    assert!(seen.lines().any(|line| line == "2001"), "{seen}");
    for other in ["2000", "0"] {
        assert!(seen.lines().all(|line| line != other), "{seen}");
    }
    for other in ["sleep", "guest"] {
        assert!(!seen.contains(other), "{seen}");
    }
    let mut attempts: Vec<String> = [
        "environ",
        "cmdline",
        "status",
        "stat",
        "maps",
        "mem",
        "cwd/.",
        "root/etc/passwd",
        "fd/7",
        "fdinfo/7",
        "exe",
        "io",
        "wchan",
        "comm",
        "net/tcp",
        "task/",
        "oom_score_adj",
        "limits",
    ]
    .iter()
    .flat_map(|file| {
        [pid, 1].map(|pid| format!("head -c 1 /proc/{pid}/{file} || ls /proc/{pid}/{file}"))
    })
    .collect();
    for signal in ["0", "TERM", "STOP", "KILL"] {
        attempts.push(format!("kill -{signal} {pid}"));
        attempts.push(format!("kill -{signal} 1"));
    }
    attempts.push(format!("renice 5 {pid}"));
    attempts.push(format!("taskset -p 1 {pid}"));
    attempts.push(format!("prlimit --pid {pid} --nofile=10"));
    // ptrace attach, process_vm_readv, pidfd_getfd of its descriptor 7.
    attempts.push(format!(
        "perl -e 'exit(syscall(101, 16, {pid}, 0, 0) == -1)'"
    ));
    attempts.push(format!(
        "perl -e '$b = \"\\0\" x 64; exit(syscall(310, {pid}, $b, 1, $b, 1, 0) == -1)'"
    ));
    attempts.push(format!(
        "perl -e '$p = syscall(434, {pid}, 0); exit(syscall(438, $p, 7, 0) == -1)'"
    ));
    assert_refused(house, &bob, &attempts).await;
    // Everything a member may signal is its own; its supervisor may go before it has reported.
    if let Ok(process) = house.guest.spawn(bob.sh("kill -9 -1")).await {
        drain(process.split().1).await;
    }
    // It lives, and what was refused above can be done to oneself.
    let alive = format!("kill -0 {pid} && head -c 1000 /proc/self/environ");
    let own = house.out(&ann, &alive).await;
    assert!(own.contains("secret-of-2000"), "{own:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_no_member_starts_nothing_and_reaches_no_file() {
    let Some(house) = House::new().await else {
        return;
    };
    let ann = house.member(0).await;
    let mut strangers = vec![None];
    for (uid, gid, groups) in [(0, 2000, vec![]), (2000, 0, vec![]), (2000, 2000, vec![0])] {
        strangers.push(Some(sandbox::guest_channel::User { uid, gid, groups }));
    }
    for user in strangers {
        let mut spec = ann.sh("true");
        spec.user = user.clone();
        assert!(house.guest.spawn(spec).await.is_err(), "{user:?}");
        let packed = house.guest.pack("/home", vec![".".into()], user.clone());
        assert!(packed.await.is_err(), "{user:?}");
        let unpacked = house.guest.unpack("/home", user.clone(), &[0; 1024][..]);
        assert!(unpacked.await.is_err(), "{user:?}");
    }
    house.leave().await;
}
