//! Figures of the link, printed; the bounds catch mistakes of design, not slow machines.

use std::time::{Duration, Instant};

use sandbox::guest_channel::Output;

use crate::inside::{inside, sh, soon, spec};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_output_is_quick() {
    const BYTES: usize = 256 * 1024 * 1024;
    let Some(inside) = inside().await else { return };
    let (_input, mut output) =
        inside.spawn(sh(&format!("head -c {BYTES} /dev/zero"))).await.split();
    let (start, mut total) = (Instant::now(), 0);
    while let Some(piece) = soon(output.next()).await.unwrap() {
        if let Output::Stdout(bytes) = piece {
            total += bytes.len();
        }
    }
    let elapsed = start.elapsed();
    eprintln!("256 MiB of output: {:.0} MiB/s", 256.0 / elapsed.as_secs_f64());
    assert_eq!(total, BYTES);
    assert!(elapsed < Duration::from_secs(20), "{elapsed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_write_is_back_at_once() {
    let Some(inside) = inside().await else { return };
    let (input, mut output) = inside.spawn(spec(&["cat"])).await.split();
    let mut times = Vec::new();
    for _ in 0..500 {
        let start = Instant::now();
        soon(input.write(b"{\"type\":\"user\"}\n")).await.unwrap();
        assert!(matches!(soon(output.next()).await.unwrap(), Some(Output::Stdout(_))));
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let (median, p95) = (times[times.len() / 2], times[times.len() * 95 / 100]);
    eprintln!("a write to cat and back: median {median:?}, p95 {p95:?}");
    assert!(median < Duration::from_millis(10), "{median:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starting_a_process_is_quick() {
    let Some(inside) = inside().await else { return };
    let mut times = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        assert!(crate::inside::finish(inside.spawn(spec(&["true"])).await).await.exit.success());
        times.push(start.elapsed());
    }
    times.sort_unstable();
    eprintln!("starting and ending a process: median {:?}", times[times.len() / 2]);
    assert!(times[times.len() / 2] < Duration::from_millis(100));
}
