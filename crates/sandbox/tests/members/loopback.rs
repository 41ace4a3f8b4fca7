//! What all members of a sandbox have in common in the kernel, loopback and names of memory and
//! sockets, and where it ends.

use std::io;

use sandbox::guest_channel::Arrival;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::house::{House, drain, soon};

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

#[tokio::test(flavor = "multi_thread")]
async fn names_are_asked_and_reached_as_the_member_who_does_it() {
    let Some(mut house) = House::new().await else {
        return;
    };
    let (ann, bob) = (house.member(0).await, house.member(1).await);
    let _way = soon(house.guest.transparent()).await.unwrap();
    for (member, name) in [(&ann, "ann.example"), (&bob, "bob.example")] {
        // By a socket of IPv4, and by one of IPv6 as Java has them.
        for family in ["AF_INET", "AF_INET6"] {
            let script = format!(
                "python3 -c 'import socket; ip = socket.gethostbyname(\"{name}\"); \
                 six = socket.{family} == socket.AF_INET6; s = socket.socket(socket.{family}); \
                 s.connect((\"::ffff:\" + ip if six else ip, 8080)); print(s.recv(9))'"
            );
            let asking = house.guest.spawn(member.sh(&script)).await.unwrap();
            let (input, output) = asking.split();
            soon(input.close_stdin()).await.unwrap();
            let uid = Some(member.user.uid);
            let asked = soon(house.incoming.next()).await.unwrap();
            let Arrival::Name {
                name: asked,
                uid: who,
                asker,
                ..
            } = asked
            else {
                panic!("a name is asked for first");
            };
            assert_eq!((asked.as_str(), who), (name, uid));
            soon(asker.reached_on(vec![8080])).await;
            let reached = soon(house.incoming.next()).await.unwrap();
            let Arrival::Reach {
                name: reached,
                port,
                uid: who,
                mut io,
            } = reached
            else {
                panic!("then it is connected to");
            };
            assert_eq!((reached.as_str(), port, who), (name, 8080, uid));
            io.write_all(b"welcome").await.unwrap();
            io.shutdown().await.unwrap();
            assert_eq!(drain(output).await.text, "b'welcome'");
        }
    }
    if std::path::Path::new("/dev/net/tun").exists() {
        let script = "python3 -c 'import socket; socket.socket().connect_ex((\"8.8.8.8\", 53)); \
             socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b\"x\", (\"8.8.4.4\", 53))'";
        house.out(&bob, script).await;
        let mut seen = 0;
        while seen < 2 {
            let Arrival::Strays { strays, .. } = soon(house.incoming.next()).await.unwrap() else {
                continue;
            };
            assert!(
                strays.iter().all(|stray| stray.uid == Some(bob.user.uid)),
                "{strays:?}"
            );
            seen += strays.len();
        }
    } else {
        eprintln!("skipped: what goes nowhere is not seen without /dev/net/tun");
    }
    // Whose port somebody took at every address, that name is given to nobody.
    let take = "python3 -c 'import socket, sys, time; s = socket.socket(); s.bind((\"0.0.0.0\", 9090)); \
         s.listen(); print(\"ready\"); sys.stdout.flush(); time.sleep(1000)'";
    let _taken = house.ready(&ann, take).await;
    let ask =
        "python3 -c 'import socket; print(socket.gethostbyname(\"c.example\"))' 2>&1 | tail -1";
    let asking = house.guest.spawn(bob.sh(ask)).await.unwrap();
    let (input, output) = asking.split();
    soon(input.close_stdin()).await.unwrap();
    let incoming = &mut house.incoming;
    let answer = async {
        while let Some(arrival) = incoming.next().await {
            if let Arrival::Name { asker, .. } = arrival {
                asker.reached_on(vec![9090]).await;
            }
        }
    };
    let done = tokio::select! {
        done = drain(output) => done,
        () = answer => panic!("the link ended"),
    };
    assert!(done.text.contains("Temporary failure"), "{done:?}");
    house.leave().await;
}
