//! What nobody inside can do, and what everybody needs.

use std::fs;

use sandbox::guest_channel::{ProcessSpec, WindowSize};

use crate::inside::{Inside, below, eventually, inside, ready, sh, spec};

async fn status(inside: &Inside, script: &str) -> (String, String) {
    let done = inside.sh(script).await;
    (done.text(), done.complaint())
}

#[tokio::test]
async fn the_filter_is_on_and_privileges_are_off() {
    let Some(inside) = inside().await else { return };
    let (text, _) = status(
        &inside,
        "grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd|SigBlk):' /proc/self/status; ulimit -c",
    )
    .await;
    let lines: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let zero = "0000000000000000";
    let expected = [
        "SigBlk:",
        zero,
        "CapEff:",
        zero,
        "CapBnd:",
        zero,
        "NoNewPrivs:",
        "1",
        "Seccomp:",
        "2",
        "0",
    ];
    assert_eq!(lines, expected);
}

/// Makes system calls by number, which no library gets in the way of.
const CALLS: &str = r#"
use strict;
sub call { my ($name, $nr, @a) = @_; $! = 0; my $r = syscall($nr, @a); print "$name ", ($r == -1 ? $!+0 : "ok"), "\n"; }
my $z = "\0" x 256;
call("unshare", 272, 0x10000000);
call("unshare-none", 272, 0);
call("mount", 165, $z, "/tmp", "tmpfs", 0, $z);
call("umount2", 166, "/tmp", 0);
call("setns", 308, 0, 0);
call("ptrace", 101, 0, 0, 0, 0);
call("process_vm_readv", 310, 1, $z, 1, $z, 1, 0);
call("bpf", 321, 0, $z, 0);
call("perf_event_open", 298, $z, 0, -1, -1, 0);
call("userfaultfd", 323, 0);
call("keyctl", 250, 0, 0, 0);
call("io_uring_setup", 425, 1, $z);
call("open_by_handle_at", 304, 0, $z, 0);
call("init_module", 175, $z, 0, $z);
call("kexec_load", 246, 0, 0, $z, 0);
call("pivot_root", 155, $z, $z);
call("clone-newuser", 56, 0x10000000 | 17, 0, 0, 0, 0);
call("clone-newns", 56, 0x00020000 | 17, 0, 0, 0, 0);
call("clone3", 435, $z, 88);
call("unknown", 9999);
call("socket-packet", 41, 17, 3, 0);
call("socket-vsock", 41, 40, 1, 0);
call("socket-raw", 41, 2, 3, 1);
call("socket-netlink-audit", 41, 16, 3, 9);
call("socket-unix", 41, 1, 1, 0);
call("socket-inet", 41, 2, 1, 0);
call("socket-route", 41, 16, 3, 0);
call("personality-norandomize", 135, 0x0040000);
call("personality-ask", 135, 0xffffffff);
call("tiocsti", 16, 0, 0x5412, "x");
call("sync", 162);
call("cachestat", 451, 0, $z, $z, 0);
call("prlimit-of-the-guest", 302, 1, 7, 0, $z);
call("prlimit-own", 302, 0, 7, 0, $z);
"#;

#[tokio::test]
async fn dangerous_calls_are_refused_and_unknown_ones_are_not_there() {
    let Some(inside) = inside().await else { return };
    if cfg!(not(target_arch = "x86_64")) {
        eprintln!("skipped: the numbers are those of x86_64");
        return;
    }
    let done = inside.sh(&format!("perl -e '{CALLS}'")).await;
    let refused = [
        "unshare",
        "unshare-none",
        "mount",
        "umount2",
        "setns",
        "ptrace",
        "process_vm_readv",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "keyctl",
        "io_uring_setup",
        "open_by_handle_at",
        "init_module",
        "kexec_load",
        "pivot_root",
        "clone-newuser",
        "clone-newns",
    ];
    let mut expected: Vec<String> = refused.iter().map(|name| format!("{name} 1")).collect();
    expected.extend(["clone3 38".to_owned(), "unknown 38".to_owned()]);
    for name in ["packet", "vsock", "raw", "netlink-audit"] {
        expected.push(format!("socket-{name} 1"));
    }
    for name in ["unix", "inet", "route"] {
        expected.push(format!("socket-{name} ok"));
    }
    expected.push("personality-norandomize 1".to_owned());
    expected.push("personality-ask ok".to_owned());
    expected.push("tiocsti 1".to_owned());
    expected.extend(["sync 1".to_owned(), "cachestat 1".to_owned()]);
    expected.push("prlimit-of-the-guest 38".to_owned());
    expected.push("prlimit-own ok".to_owned());
    let seen: Vec<String> = done.text().lines().map(str::to_owned).collect();
    assert_eq!(seen, expected, "{}", done.complaint());
}

#[tokio::test]
async fn the_usual_programs_work() {
    let Some(inside) = inside().await else { return };
    let scripts = [
        (
            "python3",
            "/usr/bin/python3 -c 'import subprocess, threading, socket, json; \
          t = threading.Thread(target=lambda: None); t.start(); t.join(); \
          print(subprocess.check_output([\"echo\", \"fine\"]).decode())'",
        ),
        (
            "node",
            "node -e 'require(\"child_process\").exec(\"echo fine\", (e, out) => console.log(out)); \
          require(\"os\").networkInterfaces()'",
        ),
        (
            "git",
            "cd /workspace && git init -q r && cd r && git -c user.name=a -c user.email=b commit -q --allow-empty -m m \
          && git log --format=%s | sed s/m/fine/",
        ),
        ("perl", "perl -e 'print \"fine\"'"),
        // Given by HOSTEL_TEST_CLAUDE. Nothing answers on the port, so it starts in full and then
        // says that it cannot reach its model.
        (
            "/claude",
            "ANTHROPIC_BASE_URL=http://127.0.0.1:9 ANTHROPIC_API_KEY=sk-none \
          CLAUDE_CODE_MAX_RETRIES=0 CLAUDE_CONFIG_DIR=/tmp/c timeout 50 /claude -p hello </dev/null 2>&1 \
          | grep -qi 'connect' && echo fine",
        ),
    ];
    for (program, script) in scripts {
        if !inside
            .sh(&format!("command -v {program}"))
            .await
            .exit
            .success()
        {
            eprintln!("skipped: {program} is not installed");
            continue;
        }
        let done = inside.sh(&format!("export HOME=/tmp; {script}")).await;
        assert_eq!(done.text(), "fine", "{program}: {}", done.complaint());
    }
}

#[tokio::test]
async fn a_process_has_its_three_descriptors_and_no_more() {
    let Some(inside) = inside().await else { return };
    let terminal = Some(WindowSize { rows: 24, cols: 80 });
    for asked in [
        spec(&["sleep", "1000"]),
        ProcessSpec {
            terminal,
            ..spec(&["sleep", "1000"])
        },
    ] {
        let process = inside.spawn(asked).await;
        let list = format!("ls /proc/{}/fd | tr '\\n' ' '", process.pid());
        // With a terminal, the program follows a moment later.
        eventually("it has its three descriptors", async || {
            inside.sh(&list).await.text() == "0 1 2"
        })
        .await;
    }
}

#[tokio::test]
async fn nobody_looks_into_the_guest_or_a_supervisor() {
    let Some(inside) = inside().await else { return };
    for pid in ["1", "$PPID"] {
        for file in ["fd/0", "mem", "environ", "maps"] {
            let done = inside
                .sh(&format!("head -c 1 /proc/{pid}/{file} >/dev/null"))
                .await;
            assert!(!done.exit.success(), "/proc/{pid}/{file} was read");
        }
    }
}

/// The tree that `bwrap` makes has a root that its user may write to, so what is refused there is
/// refused by Landlock.
#[tokio::test]
async fn files_are_written_in_their_places_only_whatever_the_mounts_say() {
    if fs::read_to_string("/sys/kernel/security/lsm").is_ok_and(|lsm| !lsm.contains("landlock")) {
        eprintln!("skipped: this kernel has no Landlock");
        return;
    }
    let Some(inside) = inside().await else { return };
    for (script, works) in [
        (
            "echo x > /tmp/x && mv /tmp/x /tmp/y && ln /tmp/y /tmp/z && rm /tmp/y /tmp/z",
            true,
        ),
        (
            "mkdir /workspace/d && mkfifo /workspace/d/f && ln -s x /workspace/d/l",
            true,
        ),
        (
            "mkdir /tmp/from /tmp/to && echo x > /tmp/from/x && mv /tmp/from/x /tmp/to",
            true,
        ),
        (
            "echo x > /dev/null && head -c 1 /dev/zero > /dev/shm/x",
            true,
        ),
        (
            "cat /usr/bin/env > /dev/null && ls / /proc > /dev/null",
            true,
        ),
        ("echo x > /x", false),
        ("mkdir /d", false),
        ("ln -s x /l", false),
        ("echo 1000 > /proc/self/oom_score_adj", false),
        ("echo x > /proc/self/comm", false),
    ] {
        let done = inside.sh(script).await;
        assert_eq!(done.exit.success(), works, "{script}: {}", done.complaint());
        assert!(
            works || done.complaint().contains("ermission denied"),
            "{script}: {}",
            done.complaint()
        );
    }
}

/// Who runs out of memory first: what the agent started, then its supervisor, then the guest.
#[tokio::test]
async fn the_guest_is_the_last_to_go_and_no_core_is_written() {
    let Some(inside) = inside().await else { return };
    let done = inside
        .sh("cat /proc/self/oom_score_adj; grep -h 'core file' /proc/self/limits | tr -s ' '")
        .await;
    assert_eq!(done.text(), "700\nMax core file size 1 1 bytes");
    let guest = format!("/proc/{}/oom_score_adj", inside.pid());
    let own: i32 = fs::read_to_string(guest).unwrap().trim().parse().unwrap();
    assert!(own < 700, "{own}");
}

#[tokio::test]
async fn the_guest_is_small() {
    let Some(inside) = inside().await else { return };
    let (_input, _output, _) = ready(&inside, sh("echo ready; exec sleep 1000")).await;
    let guest = inside.pid();
    let mut ours = vec![guest];
    ours.extend(below(guest).into_iter().filter(|pid| {
        fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("guest"))
    }));
    assert_eq!(ours.len(), 2, "the guest and one supervisor");
    let pss = |pid: &u32| -> u64 {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let total: u64 = ours.iter().map(pss).sum();
    eprintln!("PSS of the guest and one supervisor: {total} KiB");
    assert!(total <= 3 * 1024, "{total} KiB");
}
