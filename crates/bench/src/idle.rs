//! Processor time of sessions that nobody talks to, the server and everything in its sandboxes counted,
//! against bare claudes that nobody talks to.

use std::time::Duration;

use anyhow::Result;

use crate::Setting;
use crate::kernel::cpu;
use crate::row::{Bound, Row};
use crate::turn::{IDLE, TEXT, World, first};

/// How many sit idle.
const COUNT: usize = 20;
/// How long they are watched.
const WATCH: Duration = Duration::from_secs(60);
/// Idle is some time after the last answer; both sides get it.
const SETTLE: Duration = Duration::from_secs(10);

/// Measures one after the other, so that they do not disturb each other.
pub async fn run(setting: &Setting) -> Result<Vec<Row>> {
    let world = World::start(setting).await?;
    let mut sessions = Vec::new();
    for _ in 0..COUNT {
        let (session, mut stream, ..) = first(&world.hosted, world.hosted.environment()).await?;
        stream.until(IDLE).await?;
        sessions.push(session);
    }
    let mut pids = world.hosted.guests();
    pids.push(world.hosted.pid()?);
    let ours = watch(&pids).await?;
    for session in sessions {
        session.delete().await?;
    }
    world.hosted.empty().await?;

    let mut claudes = Vec::new();
    for _ in 0..COUNT {
        let mut claude = world.recipe.start(TEXT).await?;
        claude.idle().await?;
        claudes.push(claude);
    }
    let pids: Vec<u32> = claudes
        .iter()
        .map(|claude| claude.pid())
        .collect::<Result<_>>()?;
    let theirs = watch(&pids).await?;
    for claude in claudes {
        claude.stop().await?;
    }
    world.stop().await?;
    Ok(vec![
        Row::times(
            "processor time of 20 idle live sessions in 60 s",
            &[ours],
            &[Bound::Ratio(0.05)],
        )
        .against("20 bare idle claudes", &[theirs]),
    ])
}

async fn watch(pids: &[u32]) -> Result<Duration> {
    tokio::time::sleep(SETTLE).await;
    let before = cpu(pids)?;
    tokio::time::sleep(WATCH).await;
    Ok(cpu(pids)?.saturating_sub(before))
}
