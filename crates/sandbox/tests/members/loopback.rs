//! What all members of a sandbox have in common in the kernel, loopback and names of memory and
//! sockets, and where it ends.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::house::{House, soon};

/// Connects, says a word and shows what comes back.
fn say(port: u16) -> String {
    format!("exec 3<>/dev/tcp/127.0.0.1/{port} && echo hello >&3 && cat <&3")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_for_one_member_takes_nobody_else() {
    let Some(mut house) = House::new().await else {
        return;
    };
    let (ann, bob) = (house.member(0).await, house.member(1).await);
    let port = house
        .guest
        .listen_for(&ann.user, 0, "of-ann")
        .await
        .unwrap();
    let common = house.guest.listen(0, "of-all").await.unwrap();
    for (member, at, allowed) in [
        (&bob, port.port, false),
        (&ann, port.port, true),
        (&bob, common.port, true),
    ] {
        let asking = house.guest.spawn(member.sh(&say(at))).await.unwrap();
        let (input, output) = asking.split();
        soon(input.close_stdin()).await.unwrap();
        if allowed {
            let (_, mut io) = soon(house.incoming.accept()).await.unwrap();
            let mut word = [0; 6];
            soon(io.read_exact(&mut word)).await.unwrap();
            assert_eq!(&word, b"hello\n");
            io.write_all(b"welcome").await.unwrap();
            io.shutdown().await.unwrap();
            assert_eq!(crate::house::drain(output).await.text, "welcome");
        } else {
            assert_eq!(crate::house::drain(output).await.text, "");
        }
    }
    // An address that stands for the same by way of IPv6 is no way around.
    let mapped = format!(
        "python3 -c 'import socket; s = socket.socket(socket.AF_INET6); \
         s.connect((\"::ffff:127.0.0.1\", {})); s.send(b\"x\"); print(\"got\", s.recv(9))'",
        port.port
    );
    let done = house.sh(&bob, &mapped).await;
    // Closed: reset, or an end without a byte.
    assert!(["", "got b''"].contains(&done.text.as_str()), "{done:?}");
    house.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_member_took_is_not_dialled_for_one() {
    let Some(house) = House::new().await else {
        return;
    };
    let (ann, bob) = (house.member(0).await, house.member(1).await);
    let script = r#"python3 -c '
import socket
s = socket.socket(); s.bind(("127.0.0.1", 8080)); s.listen(); print("ready", flush=True)
while True:
    c, _ = s.accept(); c.send(b"from bob"); c.close()'"#;
    let _keep = house.ready(&bob, script).await;
    assert!(soon(house.guest.dial_for(&ann.user, 8080)).await.is_err());
    let mut io = soon(house.guest.dial_for(&bob.user, 8080)).await.unwrap();
    let mut said = String::new();
    soon(io.read_to_string(&mut said)).await.unwrap();
    assert_eq!(said, "from bob");
    house.leave().await;
}

/// Whether this kernel can keep abstract sockets apart: from 6.12 on.
fn kernel_scopes_sockets() -> io::Result<bool> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut parts = release
        .split(['.', '-'])
        .map(|part| part.parse().unwrap_or(0));
    let version: (u32, u32) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    Ok(version >= (6, 12))
}

const ABSTRACT: &str = r#"python3 -c '
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.bind("\0name-that-is-known"); s.listen()
c = socket.socket(socket.AF_UNIX); c.connect("\0name-that-is-known")
print("ready", flush=True); time.sleep(1000)'"#;

const CONNECT: &str = r#"python3 -c '
import socket
c = socket.socket(socket.AF_UNIX); c.connect("\0name-that-is-known"); print("connected")'"#;

#[tokio::test(flavor = "multi_thread")]
async fn abstract_sockets_link_no_two_members() {
    if !kernel_scopes_sockets().unwrap() {
        eprintln!("skipped: this kernel cannot keep abstract sockets apart");
        return;
    }
    let Some(house) = House::new().await else {
        return;
    };
    let (ann, bob) = (house.member(0).await, house.member(1).await);
    // Within one process tree they work: it is ready once it is connected to itself.
    let _keep = house.ready(&ann, ABSTRACT).await;
    let done = house.sh(&bob, CONNECT).await;
    assert_eq!(done.text, "", "{done:?}");
    assert!(
        done.complaint.contains("Operation not permitted"),
        "{done:?}"
    );
    house.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_in_a_members_directory_link_no_two_members() {
    let Some(house) = House::new().await else {
        return;
    };
    let (ann, bob) = (house.member(0).await, house.member(1).await);
    let script = r#"python3 -c '
import socket, os, time
s = socket.socket(socket.AF_UNIX); s.bind(os.environ["HOME"] + "/socket"); s.listen()
print("ready", flush=True); time.sleep(1000)'"#;
    let _keep = house.ready(&ann, script).await;
    let script = r#"python3 -c '
import socket
c = socket.socket(socket.AF_UNIX); c.connect("/home/m0/socket"); print("connected")'"#;
    let done = house.sh(&bob, script).await;
    assert!(done.complaint.contains("Permission denied"), "{done:?}");
    house.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_memory_of_a_member_is_not_shared_with_others() {
    let Some(house) = House::new().await else {
        return;
    };
    let (ann, bob) = (house.member(0).await, house.member(1).await);
    // System V by a known key, POSIX by a known name.
    let make = "perl -e '$i = shmget(4711, 100, 0600 | 01000); defined $i or die; shmwrite($i, \"secret\", 0, 6) or die' \
                && echo secret > /dev/shm/name";
    house.out(&ann, make).await;
    for attempt in [
        "perl -e '$i = shmget(4711, 100, 0); defined $i or die; shmread($i, $x, 0, 6) or die; print $x'",
        "perl -e 'shmctl(0, 0, 0) or die'",
        "cat /dev/shm/name",
        "rm -f /dev/shm/name",
        "ls /dev/shm",
        "grep 4711 /proc/sysvipc/shm",
    ] {
        let done = house.sh(&bob, attempt).await;
        assert!(
            !done.exit.success() && !done.text.contains("secret"),
            "{attempt}: {done:?}"
        );
    }
    assert_eq!(house.out(&ann, "cat /dev/shm/name").await, "secret");
    house.leave().await;
}
