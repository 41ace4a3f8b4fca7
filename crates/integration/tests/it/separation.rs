//! A server that root starts: it has no privileges left, its keeper has them and nothing else, and
//! whichever of the two is killed, nothing is lost or left.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use integration::server::binary;
use integration::{Agent, MODEL_KEY, Process, Setup, World};
use nix::errno::Errno;
use nix::libc;

/// Whom the server becomes where there is no user of its name and nothing is set.
const NOBODYS: u32 = 599_999_999;

/// The value of a line of `/proc/<pid>/status`.
fn status(process: Process, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let value = line.and_then(|line| line.strip_prefix(':'));
    value
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap_or("")
        .to_owned()
}

/// Who the server should be here.
fn expected() -> u32 {
    if let Ok(user) = std::env::var("HOSTEL_SERVER_USER") {
        return user
            .parse()
            .expect("these tests need a server that is not root, by number");
    }
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    let ours = accounts
        .lines()
        .find_map(|line| line.strip_prefix("hostel:"));
    let number = ours.and_then(|line| line.split(':').nth(1)?.parse().ok());
    number.unwrap_or(NOBODYS)
}

#[tokio::test]
async fn the_server_has_no_privileges_and_the_keeper_no_secrets() {
    let Some(world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    session.turn("@say fine").await.answered("fine");
    let server = world.server();
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid)).unwrap();
    for thread in threads.flatten() {
        let thread = thread.file_name().to_str().unwrap().parse().unwrap();
        let thread = Process::of(thread).unwrap();
        assert_eq!(status(thread, "Uid"), expected().to_string());
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(thread, set), "0000000000000000", "{set}");
        }
        assert_eq!(status(thread, "NoNewPrivs"), "1");
        assert_eq!(status(thread, "Seccomp"), "2");
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid)).unwrap();
    let core = limits
        .lines()
        .find(|line| line.contains("core file"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("1"), "{core}");
    // Not dumpable: what it has open is root's alone.
    let descriptors = fs::metadata(format!("/proc/{}/fd", server.pid)).unwrap();
    assert_eq!(descriptors.uid(), 0);

    let keeper = world.keeper().unwrap();
    assert_eq!(status(keeper, "Uid"), "0");
    let environment = fs::read_to_string(format!("/proc/{}/environ", keeper.pid)).unwrap();
    assert!(environment.starts_with("PATH="), "{environment}");
    assert_eq!(environment.matches('\0').count(), 1, "{environment}");
    assert!(has_in_memory(server, MODEL_KEY), "the search finds nothing");
    assert!(!has_in_memory(keeper, MODEL_KEY));
    let descriptors = fs::read_dir(format!("/proc/{}/fd", keeper.pid)).unwrap();
    for descriptor in descriptors.flatten() {
        let open = fs::read_link(descriptor.path()).unwrap_or_default();
        assert!(!open.to_string_lossy().contains("hostel.db"), "{open:?}");
    }
    world.end().await;
}

/// Whether a text is in the memory that a process can write to.
fn has_in_memory(process: Process, text: &str) -> bool {
    let maps = fs::read_to_string(format!("/proc/{}/maps", process.pid)).unwrap();
    let memory = fs::File::open(format!("/proc/{}/mem", process.pid)).unwrap();
    let writable = maps.lines().filter(|line| line.contains(" rw"));
    let ranges = writable.filter_map(|line| {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        Some((
            u64::from_str_radix(from, 16).ok()?,
            u64::from_str_radix(to, 16).ok()?,
        ))
    });
    let wanted = text.as_bytes();
    ranges.into_iter().any(|(from, to)| {
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        let read = memory.read_at(&mut bytes, from).unwrap_or(0);
        bytes[..read]
            .windows(wanted.len())
            .any(|part| part == wanted)
    })
}

/// What a server that was taken over tries, and the kernel's answers.
#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn a_server_that_was_taken_over_gets_nowhere() {
    use integration::puppet::Puppet;

    let Some(world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    session.turn("@say fine").await.answered("fine");
    let (data, server) = (world.data.to_str().unwrap(), world.server());
    let keeper = world.keeper().unwrap().pid;
    let home = world.data.parent().unwrap().display();
    let mut puppet = Puppet::of(server);
    let here = libc::AT_FDCWD as u64;
    let create = (libc::O_WRONLY | libc::O_CREAT) as u64;
    let open = |puppet: &mut Puppet, path: &str, flags: u64| {
        let path = puppet.text(path);
        puppet.call(libc::SYS_openat, &[here, path, flags, 0o600])
    };
    // The search for a way out finds the way to its own things, so it can find something.
    for (path, flags) in [(format!("{data}/hostel.db"), 2), ("/etc/passwd".into(), 0)] {
        assert!(open(&mut puppet, &path, flags).is_ok(), "{path}");
    }
    let refused = [Err(Errno::EACCES), Err(Errno::EPERM), Err(Errno::ENOENT)];
    for path in [
        "/etc/shadow".to_owned(),
        "/root/.bashrc".to_owned(),
        "/proc/1/environ".to_owned(),
        format!("/proc/{keeper}/mem"),
        format!("/proc/{keeper}/root/etc/shadow"),
        format!("{home}/server.log"),
        "/home".to_owned(),
        "/var/log".to_owned(),
        "/dev/kmsg".to_owned(),
        "/dev/loop-control".to_owned(),
        "/sys/kernel".to_owned(),
    ] {
        let answer = open(&mut puppet, &path, 0);
        assert!(refused.contains(&answer), "{path}: {answer:?}");
    }
    for path in [
        "/tmp/out".to_owned(),
        "/var/tmp/out".to_owned(),
        "/dev/shm/out".to_owned(),
        format!("{home}/out"),
        format!("{data}/cli/out"),
        format!("{data}/sandboxes/out"),
        format!("{data}/rootfs/out"),
        "/sys/fs/cgroup/out".to_owned(),
    ] {
        let answer = open(&mut puppet, &path, create);
        assert!(
            refused.contains(&answer) || answer == Err(Errno::EROFS),
            "{path}: {answer:?}"
        );
    }
    // The keeper's directories stay where they are.
    for name in ["cli", "sandboxes", "runtime"] {
        let from = puppet.text(&format!("{data}/{name}"));
        let to = puppet.text(&format!("{data}/other"));
        let answer = puppet.call(libc::SYS_rename, &[from, to]);
        assert!(refused.contains(&answer), "{name}: {answer:?}");
    }
    let shell = puppet.text("/bin/sh");
    let calls: [(&str, i64, Vec<u64>); 16] = [
        ("execve", libc::SYS_execve, vec![shell, 0, 0]),
        ("execveat", libc::SYS_execveat, vec![here, shell, 0, 0, 0]),
        ("fork", libc::SYS_fork, vec![]),
        ("setuid", libc::SYS_setuid, vec![0]),
        ("setresuid", libc::SYS_setresuid, vec![0, 0, 0]),
        ("setgroups", libc::SYS_setgroups, vec![0, 0]),
        ("chown", libc::SYS_chown, vec![shell, 0, 0]),
        (
            "unshare",
            libc::SYS_unshare,
            vec![libc::CLONE_NEWUSER as u64],
        ),
        ("mount", libc::SYS_mount, vec![shell, shell, shell, 0, 0]),
        ("ptrace", libc::SYS_ptrace, vec![16, keeper as u64]),
        ("bpf", libc::SYS_bpf, vec![0, 0, 0]),
        ("keyctl", libc::SYS_keyctl, vec![0]),
        ("io_uring_setup", libc::SYS_io_uring_setup, vec![1, 0]),
        ("packet socket", libc::SYS_socket, vec![17, 3, 0]),
        ("raw socket", libc::SYS_socket, vec![2, 3, 1]),
        ("memfd_create", libc::SYS_memfd_create, vec![shell, 0]),
    ];
    for (name, number, arguments) in calls {
        let answer = puppet.call(number, &arguments);
        assert_eq!(answer, Err(Errno::EPERM), "{name}");
    }
    // Those that are not listed are not there: another process instead of a thread, signals to others.
    for (name, number, arguments) in [
        ("clone", libc::SYS_clone, vec![17, 0, 0, 0, 0]),
        ("clone3", libc::SYS_clone3, vec![0, 0]),
        ("kill", libc::SYS_kill, vec![keeper as u64, 9]),
    ] {
        let answer = puppet.call(number, &arguments);
        assert_eq!(answer, Err(Errno::ENOSYS), "{name}");
    }
    let answer = puppet.call(libc::SYS_tgkill, &[keeper as u64, keeper as u64, 9]);
    assert_eq!(answer, Err(Errno::EPERM), "tgkill");
    drop(puppet);
    // It was only a puppet: the server goes on.
    session.turn("@say still here").await.answered("still here");
    world.end().await;
}

#[tokio::test]
async fn a_killed_keeper_ends_the_server_and_the_next_one_goes_on() {
    let Some(mut world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    session.turn("@say first").await.answered("first");
    world.note();
    world.keeper().unwrap().kill();
    let (status, log) = world.ended().await;
    assert!(!status.success());
    assert!(
        log.contains("the keeper of the sandboxes has ended"),
        "{log}"
    );
    world.restart().await;
    session.turn("@say second").await.answered("second");
    world.end().await;
}

#[tokio::test]
async fn a_killed_server_takes_its_keeper_and_frozen_sandboxes_along() {
    let Some(mut world) = World::new().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    session.turn("@say first").await.answered("first");
    let sandbox = world.sandbox().await;
    integration::until("a frozen sandbox", || sandbox.guest.frozen().then_some(())).await;
    world.crash().await;
    world.deserted().await;
    integration::until("an empty directory of sandboxes", || {
        integration::Sandbox::all(&world.data)
            .is_empty()
            .then_some(())
    })
    .await;
    world.restart().await;
    session.turn("@say second").await.answered("second");
    world.end().await;
}

#[tokio::test]
async fn a_directory_of_root_is_given_and_a_server_may_stay_root() {
    let Some(mut world) = Setup::default().set("server.user", "root").start().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    session.turn("@say as root").await.answered("as root");
    assert_eq!(status(world.server(), "Uid"), "0");
    assert!(world.keeper().is_none());
    assert!(world.log().contains("keeps the privileges of root"));
    world.stop().await;
    // An account of the host, then the number that nobody has.
    for (user, uid) in [("nobody", 65534), (&*NOBODYS.to_string(), NOBODYS)] {
        world.set("server.user", user);
        world.restart().await;
        assert_eq!(status(world.server(), "Uid"), uid.to_string());
        let text = format!("as {user}");
        session.turn(&format!("@say {text}")).await.answered(&text);
        let owner = |name: &str| fs::metadata(world.data.join(name)).unwrap().uid();
        assert_eq!(owner("hostel.db"), uid);
        assert_eq!(owner("snapshots"), uid);
        for name in [
            "",
            "cli",
            "sandboxes",
            "disks",
            "rootfs",
            "guest",
            "runtime",
        ] {
            assert_eq!(owner(name), 0, "{name}");
        }
        world.stop().await;
    }
    world.set("server.user", "root");
    world.restart().await;
    session.turn("@say back").await.answered("back");
    world.end().await;
}

#[tokio::test]
async fn a_closed_directory_of_root_leads_the_server_to_its_data_and_nowhere_else() {
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(closed.path().join("secret"), "everybody could read it").unwrap();
    let data = closed.path().join("share/hostel");
    let Some(world) = Setup::default().data(&data).start().await else {
        return;
    };
    let session = world.session(&Agent::free()).await;
    session.turn("@say fine").await.answered("fine");
    let seen = format!(
        "/proc/{}/root{}",
        world.server().pid,
        closed.path().display()
    );
    let names = |path: &str| -> Vec<_> {
        let entries = fs::read_dir(path).unwrap().flatten();
        entries.map(|entry| entry.file_name()).collect()
    };
    assert_eq!(names(&seen), ["share"]);
    assert_eq!(names(&format!("{seen}/share")), ["hostel"]);
    assert!(fs::exists(format!("{seen}/share/hostel/hostel.db")).unwrap());
    // Nobody else sees anything of it.
    assert!(fs::exists(closed.path().join("secret")).unwrap());
    let keeper = world.keeper().unwrap().pid;
    let secret = closed.path().join("secret");
    assert!(fs::exists(format!("/proc/{keeper}/root{}", secret.display())).unwrap());
    world.end().await;
}

#[tokio::test]
async fn a_user_that_does_not_exist_and_files_it_cannot_read_are_told() {
    let Some(started) = Setup::default()
        .set("server.user", "no-such-user")
        .try_start()
        .await
    else {
        return;
    };
    let Err(refused) = started else {
        panic!("it started")
    };
    assert!(
        refused.log.contains("there is no user no-such-user"),
        "{}",
        refused.log
    );
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("key.pem");
    fs::write(&key, "root's alone").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let setup = Setup::default().set("tls.cert_file", key.display());
    let started = setup.set("tls.key_file", key.display()).try_start().await;
    let Some(Err(refused)) = started else {
        panic!("it started")
    };
    assert!(
        refused.log.contains("cannot read") && refused.log.contains("server.user"),
        "{}",
        refused.log
    );
}

#[tokio::test]
async fn a_command_of_root_has_a_server_without_privileges_for_itself() {
    // What the suite's server needs is what this needs.
    let Some(world) = World::new().await else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    integration::Cli::Real.install(&home.path().join("data"));
    let run = tokio::process::Command::new(binary())
        .args(["run", "--offline", "@say done by somebody else", "--data"])
        .arg(home.path().join("data"))
        .env("HOME", home.path())
        .env_remove("HOSTEL_API_KEY")
        .output();
    let ran = integration::wait::soon("the end of the command", run)
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && said.contains("done by somebody else"),
        "{said}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let database = fs::metadata(home.path().join("data/hostel.db")).unwrap();
    assert_eq!(database.uid(), expected());
    let left = integration::leftovers::of(&home.path().join("data"), &Default::default());
    assert!(left.is_empty(), "{left:#?}");
    world.end().await;
}

/// Said where something is looked for that only this kind of machine has.
#[cfg(not(target_arch = "x86_64"))]
#[tokio::test]
async fn a_server_that_was_taken_over_gets_nowhere() {
    integration::skip("registers are written as x86_64 has them");
}
