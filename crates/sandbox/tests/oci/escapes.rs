//! The escape suite: what sandboxes are tried with, at every level of isolation that this machine
//! has. Nothing may work, the sandbox must still answer (or have ended as a whole where that is
//! told), and neither its neighbour nor the host may have noticed.
//!
//! The attempts are data, to add one is a few lines: `calls.toml` (system calls by number),
//! `attempts.toml` (scripts), `bombs.toml` (what uses things up), `network.toml` (ways out). Links in images and archives need
//! code and stand in `files.rs`.

#[path = "escapes/bombs.rs"]
mod bombs;
#[path = "escapes/cell.rs"]
mod cell;
#[path = "escapes/files.rs"]
mod files;
#[path = "escapes/host.rs"]
mod host;
#[path = "escapes/introspection.rs"]
mod introspection;
#[path = "escapes/network.rs"]
mod network;
#[path = "escapes/swaps.rs"]
mod swaps;

use std::collections::BTreeMap;

use serde::Deserialize;

use cell::Cell;
use host::Host;

#[derive(Deserialize)]
struct Calls {
    call: Vec<Call>,
}

/// One system call.
#[derive(Deserialize)]
struct Call {
    name: String,
    nr: u32,
    args: String,
    /// A control: without it a program that cannot make any call would look like a success.
    #[serde(default)]
    works: bool,
}

#[derive(Deserialize)]
struct Attempts {
    attempt: Vec<Attempt>,
}

/// One script.
#[derive(Deserialize)]
struct Attempt {
    name: String,
    run: String,
    /// Levels at which it may work, with the reason.
    #[serde(default)]
    harmless_at: BTreeMap<String, String>,
}

/// Not permitted, no such call, no access: the answers of a wall. Any other failure would only say
/// that the call was made badly.
const REFUSED: [i32; 3] = [1, 13, 38];

/// What gVisor's kernel also answers when it does not have what is asked for.
const INVALID: i32 = 22;

async fn calls_fail(level: &str) {
    if cfg!(not(target_arch = "x86_64")) {
        eprintln!("skipped: the numbers are those of x86_64");
        return;
    }
    let Some(cell) = Cell::new(level).await else {
        return;
    };
    let host = Host::now();
    let Calls { call } = toml::from_str(include_str!("escapes/calls.toml")).unwrap();
    let mut script = String::from(
        "use strict; sub call { my ($nr, @a) = @_; $! = 0; my $r = syscall($nr, @a); print $r == -1 ? $!+0 : 0, \"\\n\" } my $z = \"\\0\" x 256;\n",
    );
    for Call { nr, args, .. } in &call {
        let comma = if args.is_empty() { "" } else { ", " };
        script.push_str(&format!("call({nr}{comma}{args});\n"));
    }
    let done = cell.run(&["/usr/bin/perl", "-e", &script]).await;
    let answers: Vec<i32> = done
        .text
        .lines()
        .map(|line| {
            line.parse()
                .unwrap_or_else(|_| panic!("{level}: {}", done.text))
        })
        .collect();
    assert_eq!(answers.len(), call.len(), "{level}: {}", done.text);
    let refused = |answer| REFUSED.contains(answer) || level == "gvisor" && *answer == INVALID;
    let wrong: Vec<String> = call
        .iter()
        .zip(&answers)
        .filter(|(call, answer)| call.works != (**answer == 0) || !(call.works || refused(answer)))
        .map(|(call, answer)| format!("{}: {answer}", call.name))
        .collect();
    assert!(wrong.is_empty(), "at level {level}: {wrong:#?}");
    cell.end(&host).await;
}

async fn attempts_fail(level: &str) {
    let Some(cell) = Cell::new(level).await else {
        return;
    };
    let host = Host::now();
    let Attempts { attempt } = toml::from_str(include_str!("escapes/attempts.toml")).unwrap();
    let mut broken = Vec::new();
    for attempt in &attempt {
        let Attempt {
            name,
            run,
            harmless_at,
        } = attempt;
        let done = cell.run(&["/bin/bash", "-c", run]).await;
        // Killed by the filter is refused, too; a program that is not there would prove nothing.
        let missing = done.exit.code == Some(127);
        let worked = done.exit.success() && !harmless_at.contains_key(level);
        if worked || missing {
            broken.push(format!("{name}: {}: {}", done.exit, done.text));
        }
        assert!(cell.answers().await, "{level}: after {name} nobody answers");
    }
    assert!(broken.is_empty(), "at level {level}: {broken:#?}");
    cell.end(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn system_calls_fail_at_level_process() {
    calls_fail("process").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn system_calls_fail_at_level_container() {
    calls_fail("container").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn system_calls_fail_at_level_gvisor() {
    calls_fail("gvisor").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_fail_at_level_process() {
    attempts_fail("process").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_fail_at_level_container() {
    attempts_fail("container").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_fail_at_level_gvisor() {
    attempts_fail("gvisor").await;
}
