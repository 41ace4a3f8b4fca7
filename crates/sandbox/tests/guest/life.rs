//! The link and the guest: how they begin and end.

use std::path::Path;

use protocol::{GENERATION, Open, Opened};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use crate::inside::{below, eventually, inside, ready, sh, soon, start};

#[tokio::test]
async fn the_guest_says_who_it_is() {
    let Some(inside) = inside().await else { return };
    let hello = inside.guest.hello();
    assert_eq!(
        (hello.generation, hello.pid, hello.uid),
        (GENERATION, 1, 1000)
    );
}

#[tokio::test]
async fn statistics_count_what_runs() {
    let Some(inside) = inside().await else { return };
    let before = soon(inside.guest.stats()).await.unwrap();
    let script = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo ready; sleep 1000";
    let (_input, _output, _) = ready(&inside, sh(script)).await;
    let after = soon(inside.guest.stats()).await.unwrap();
    assert_eq!(before.processes, 1);
    assert!(after.processes >= 3, "{after:?}");
    assert!(
        after.cpu_ms > before.cpu_ms && after.memory_bytes > before.memory_bytes,
        "{after:?}"
    );
    assert!(
        after.disk_total_bytes > 0 && after.uptime_ms > 0,
        "{after:?}"
    );
}

#[tokio::test]
async fn nothing_outlives_the_link() {
    let Some(inside) = inside().await else { return };
    let script =
        "setsid setsid sleep 1000 & trap '' HUP TERM; echo ready; while :; do sleep 1; done";
    let _process = ready(&inside, sh(script)).await;
    let guest = inside.pid();
    let mut ours = Vec::new();
    eventually(
        "the guest, a supervisor, the shell and the sleeper run",
        async || {
            ours = below(guest);
            ours.push(guest);
            ours.len() >= 4
        },
    )
    .await;
    inside.guest.close();
    soon(inside.guest.closed()).await;
    let gone = |pid: &u32| !Path::new(&format!("/proc/{pid}")).exists() || is_zombie(*pid);
    eventually("all are gone", async || ours.iter().all(gone)).await;
    assert!(soon(inside.guest.spawn(sh("true"))).await.is_err());
}

fn is_zombie(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('Z'))
    })
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_link() {
    let Some((stream, mut holder)) = start() else {
        return;
    };
    stream.set_nonblocking(true).unwrap();
    let stream = UnixStream::from_std(stream).unwrap();
    let connected = soon(sandbox::guest_channel::Guest::connect(Box::new(stream)))
        .await
        .unwrap();
    drop(connected);
    eventually("the sandbox ends", async || {
        holder.try_wait().unwrap().is_some()
    })
    .await;
}

#[tokio::test]
async fn the_link_ends_when_the_guest_is_killed() {
    let Some(inside) = inside().await else { return };
    let (_input, mut output, _) = ready(&inside, sh("echo ready; sleep 1000")).await;
    let pid = nix::unistd::Pid::from_raw(inside.pid().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    soon(inside.guest.closed()).await;
    assert!(soon(output.next()).await.is_err());
}

#[tokio::test]
async fn garbage_on_the_link_ends_the_guest() {
    let Some((stream, mut holder)) = start() else {
        return;
    };
    stream.set_nonblocking(true).unwrap();
    let mut stream = UnixStream::from_std(stream).unwrap();
    soon(stream.write_all(&[0xff; 4096])).await.unwrap();
    eventually("the sandbox ends", async || {
        holder.try_wait().unwrap().is_some()
    })
    .await;
}

#[tokio::test]
async fn the_first_stream_must_be_a_hello_of_a_known_generation() {
    let Some((stream, mut holder)) = start() else {
        return;
    };
    stream.set_nonblocking(true).unwrap();
    let stream = UnixStream::from_std(stream).unwrap();
    use tokio_util::compat::{FuturesAsyncReadCompatExt as _, TokioAsyncReadCompatExt as _};
    let mut connection = yamux::Connection::new(
        stream.compat(),
        yamux::Config::default(),
        yamux::Mode::Client,
    );
    for (open, expected) in [
        (protocol::encode(&Open::Stats).unwrap(), "hello_first"),
        (
            protocol::encode(&Open::Hello {
                generations: vec![99],
            })
            .unwrap(),
            "no_common_generation",
        ),
        (
            bytes::Bytes::from_static(b"\0\0\0\x0e{\"open\":\"fly\"}"),
            "unsupported",
        ),
    ] {
        let stream = std::future::poll_fn(|cx| connection.poll_new_outbound(cx))
            .await
            .unwrap();
        let ask = async {
            let mut stream = stream.compat();
            stream.write_all(&open).await.unwrap();
            let len = stream.read_u32().await.unwrap();
            let mut body = vec![0; len as usize];
            stream.read_exact(&mut body).await.unwrap();
            body
        };
        let drive = std::future::poll_fn(|cx| connection.poll_next_inbound(cx));
        let body =
            tokio::select! { body = soon(ask) => body, _ = drive => panic!("the link ended") };
        let answer = protocol::decode_opened(&body).unwrap();
        let Opened::Err(refusal) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(serde_json::to_value(refusal.code).unwrap(), expected);
    }
    drop(connection);
    eventually("the sandbox ends", async || {
        holder.try_wait().unwrap().is_some()
    })
    .await;
}
