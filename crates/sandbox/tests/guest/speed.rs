//! Figures of the link, printed; the bounds catch mistakes of design, not slow machines.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use sandbox::guest_channel::Output;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::inside::{inside, sh, soon, spec};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_output_is_quick() {
    const BYTES: usize = 256 * 1024 * 1024;
    let Some(inside) = inside().await else { return };
    let (_input, mut output) = inside
        .spawn(sh(&format!("head -c {BYTES} /dev/zero")))
        .await
        .split();
    let (start, mut total) = (Instant::now(), 0);
    while let Some(piece) = soon(output.next()).await.unwrap() {
        if let Output::Stdout(bytes) = piece {
            total += bytes.len();
        }
    }
    let elapsed = start.elapsed();
    eprintln!(
        "256 MiB of output: {:.0} MiB/s",
        256.0 / elapsed.as_secs_f64()
    );
    assert_eq!(total, BYTES);
    assert!(elapsed < Duration::from_secs(20), "{elapsed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_write_is_back_at_once() {
    // As a task of its own, where the server's are, and not in the runtime's waiting thread.
    tokio::spawn(echo()).await.unwrap();
}

async fn echo() {
    let Some(inside) = inside().await else { return };
    let (input, mut output) = inside.spawn(spec(&["cat"])).await.split();
    let mut times = Vec::new();
    for _ in 0..500 {
        let start = Instant::now();
        soon(input.write(b"{\"type\":\"user\"}\n")).await.unwrap();
        assert!(matches!(
            soon(output.next()).await.unwrap(),
            Some(Output::Stdout(_))
        ));
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let (median, p95) = (times[times.len() / 2], times[times.len() * 95 / 100]);
    let bare = bare_echo().await;
    eprintln!("a write to cat and back: median {median:?}, p95 {p95:?}; bare pipes {bare:?}");
    assert!(median < Duration::from_millis(10), "{median:?}");
}

/// The same without guest and link: the median through the pipes of a child.
async fn bare_echo() -> Duration {
    let mut cat = tokio::process::Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (mut stdin, mut stdout) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
    let mut times = Vec::new();
    for _ in 0..500 {
        let start = Instant::now();
        stdin.write_all(b"{\"type\":\"user\"}\n").await.unwrap();
        assert!(soon(stdout.read(&mut [0; 64])).await.unwrap() > 0);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// Starting a child of our own and waiting for its end: the median.
async fn bare_start() -> Duration {
    let mut times = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        assert!(
            tokio::process::Command::new("true")
                .status()
                .await
                .unwrap()
                .success()
        );
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starting_a_process_is_quick() {
    let Some(inside) = inside().await else { return };
    let mut times = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        assert!(
            crate::inside::finish(inside.spawn(spec(&["true"])).await)
                .await
                .exit
                .success()
        );
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let (median, bare) = (times[times.len() / 2], bare_start().await);
    eprintln!("starting and ending a process: median {median:?}; bare {bare:?}");
    assert!(times[times.len() / 2] < Duration::from_millis(100));
}
