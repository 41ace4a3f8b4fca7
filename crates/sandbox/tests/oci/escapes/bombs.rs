//! What uses things up: processes, memory, disk, descriptors, the processor.

use std::time::{Duration, Instant};

use sandbox::guest_channel::Output;
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    cell::{Cell, PATIENCE, program, run},
    host::Host,
};

/// How long something goes on where nobody counts what it runs into.
const UNCOUNTED: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Bombs {
    bomb: Vec<Bomb>,
}

#[derive(Deserialize)]
struct Bomb {
    name: String,
    run: String,
    /// A script that ends with 0 when the bomb has gone off.
    reached: Option<String>,
    /// What the kernel counts when it has gone off.
    counted: Option<Counted>,
    /// A program without which it cannot be tried.
    needs: Option<String>,
    /// Levels at which the sandbox may end as a whole.
    #[serde(default)]
    may_end: Vec<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Counted {
    Memory,
    Pids,
}

/// Each in a sandbox of its own, because one may end it.
async fn are_contained(level: &str) {
    let Bombs { bomb } = toml::from_str(include_str!("bombs.toml")).unwrap();
    let host = Host::now();
    for bomb in &bomb {
        let Some(cell) = Cell::new(level).await else {
            return;
        };
        let begun = Instant::now();
        let went = go_off(&cell, bomb, level).await;
        eprintln!("{level}: {}: {went} after {:?}", bomb.name, begun.elapsed());
        cell.end(&host).await;
    }
}

/// Starts it, waits until it has gone off, ends it, and sees who is left.
async fn go_off(cell: &Cell, bomb: &Bomb, level: &str) -> &'static str {
    if let Some(needed) = &bomb.needs {
        let look = format!("PATH=/usr/bin:/bin command -v {needed}");
        if !cell.run(&["/bin/sh", "-c", &look]).await.exit.success() {
            return "not tried, because a program is not installed";
        }
    }
    let may_end = bomb.may_end.iter().any(|name| name == level);
    let process = cell
        .guest
        .spawn(program(&["/bin/bash", "-c", &bomb.run]))
        .await
        .unwrap();
    let (input, mut output) = process.split();
    let reader = tokio::spawn(async move {
        let mut seen = 0_usize;
        while let Ok(Some(piece)) = output.next().await {
            match piece {
                Output::Stdout(bytes) | Output::Stderr(bytes) => seen += bytes.len(),
                Output::Exit(_) => {}
            }
        }
        seen
    });
    let begun = Instant::now();
    let mut gone = false;
    while !gone && !has_gone_off(cell, bomb).await {
        // What a kernel in user space refuses by itself is not counted outside.
        if may_end && begun.elapsed() > UNCOUNTED {
            break;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{level}: {} does not go off",
            bomb.name
        );
        gone = is_over(cell).await;
    }
    // What the host does with a turn that is cut.
    let killed = timeout(PATIENCE, input.kill_tree()).await;
    assert!(
        killed.is_ok() || gone,
        "{level}: {} cannot be killed",
        bomb.name
    );
    drop(input);
    let ended = timeout(PATIENCE, reader).await;
    assert!(
        ended.is_ok(),
        "{level}: the output of {} has no end",
        bomb.name
    );
    if is_over(cell).await {
        assert!(may_end, "{level}: {} ended the sandbox", bomb.name);
        return "the sandbox ended as a whole";
    }
    // Whoever was killed goes in its own time, and until then there may be no room.
    let deadline = Instant::now() + PATIENCE;
    while !(cell.answers().await && is_alone(cell).await) {
        assert!(
            Instant::now() < deadline,
            "{level}: after {} nobody answers",
            bomb.name
        );
        if may_end && is_over(cell).await {
            return "the sandbox ended as a whole";
        }
    }
    "contained"
}

/// Whether nothing is left of it, wherever it went: the guest, and a program that was just asked for.
async fn is_alone(cell: &Cell) -> bool {
    let stats = timeout(PATIENCE, cell.guest.stats()).await;
    matches!(stats, Ok(Ok(stats)) if stats.processes <= 3)
}

/// Whether the sandbox has ended; waits a moment for it.
async fn is_over(cell: &Cell) -> bool {
    timeout(Duration::from_millis(50), cell.guest.closed())
        .await
        .is_ok()
}

async fn has_gone_off(cell: &Cell, bomb: &Bomb) -> bool {
    let hits = cell.hits().await;
    match (bomb.counted, &bomb.reached) {
        (Some(Counted::Memory), _) => hits.oom_kills > 0,
        (Some(Counted::Pids), _) => hits.pids_refused > 0,
        (None, Some(script)) => {
            let asked = run(&cell.guest, &["/bin/bash", "-c", script]).await;
            asked.exit.success()
        }
        (None, None) => true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_are_contained_at_level_process() {
    are_contained("process").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_are_contained_at_level_container() {
    are_contained("container").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_are_contained_at_level_gvisor() {
    are_contained("gvisor").await;
}
