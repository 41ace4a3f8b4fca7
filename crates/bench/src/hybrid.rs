//! The way back of a session that was saved with many files, against a session that begins with none.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use crate::Setting;
use crate::hosted::Session;
use crate::quiet::quiet;
use crate::row::{Bound, Row, WARM_UP};
use crate::turn::{DELTA, IDLE, TEXT, World, finish};

/// Makes 10,000 files of 10 kB in 100 directories, of text that compresses by a quarter.
const FILES: &str = r#"@tool Bash {"command":"for d in $(seq 100); do mkdir d$d && head -c 786432 /dev/urandom | base64 -w 0 | split -b 10486 -a 3 -d - d$d/f || exit 1; done; find . -type f | wc -l"}
@say made {{result}}"#;
/// What the session says when all of them are there.
const MADE: &[u8] = b"made 10000";
/// A round saves and brings back 100 MB.
const ROUNDS: usize = 15;

/// Measures all three in turns: many files, a new session, and for orientation a saved one with no
/// files of its own.
pub async fn run(setting: &Setting) -> Result<Vec<Row>> {
    let world = World::start(setting).await?;
    let soon = world.hosted.hosting(&json!({"idle_timeout": 1})).await?;
    let full = world.hosted.session_in(&soon, None).await?;
    let mut stream = full.stream().await?;
    full.say(FILES).await?;
    stream.until(MADE).await?;
    stream.until(IDLE).await?;
    drop(stream);
    let empty = world.hosted.session_in(&soon, Some(TEXT)).await?;
    empty.rest().await?;
    let (mut ours, mut theirs, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..WARM_UP + setting.rounds.min(ROUNDS) {
        let (with, without, cold);
        if round % 2 == 0 {
            with = back(&world, &full).await?;
            cold = begin(&world, &soon).await?;
        } else {
            cold = begin(&world, &soon).await?;
            with = back(&world, &full).await?;
        }
        without = back(&world, &empty).await?;
        if round >= WARM_UP {
            ours.push(with);
            theirs.push(cold);
            plain.push(without);
        }
    }
    world.hosted.empty().await?;
    world.stop().await?;
    let cold = "cold, workspace empty";
    Ok(vec![
        Row::times(
            "message to a saved session, 10,000 files, 100 MB → first text",
            &ours,
            &[Bound::Added(500.0)],
        )
        .against(cold, &theirs),
        Row::times(
            "message to a saved session, no files → first text",
            &plain,
            &[],
        )
        .against(cold, &theirs),
    ])
}

/// A message to a session that is saved.
async fn back(world: &World, session: &Session) -> Result<Duration> {
    world.hosted.empty().await?;
    quiet().await?;
    let mut stream = session.stream().await?;
    let begun = Instant::now();
    session.say(TEXT).await?;
    let took = stream.until(DELTA).await? - begun;
    stream.until(IDLE).await?;
    Ok(took)
}

/// The first message to a new session.
async fn begin(world: &World, environment: &str) -> Result<Duration> {
    world.hosted.empty().await?;
    let session = world.hosted.session_in(environment, None).await?;
    quiet().await?;
    let mut stream = session.stream().await?;
    let begun = Instant::now();
    session.say(TEXT).await?;
    let took = stream.until(DELTA).await? - begun;
    finish(session, stream).await?;
    Ok(took)
}
