//! A message to a session whose processes are frozen, against the next turn of a bare claude that has
//! been idle for as long.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Setting;
use crate::bare::Bare;
use crate::hosted::{Session, until};
use crate::http::Stream;
use crate::kernel::frozen;
use crate::quiet::quiet;
use crate::row::{Bound, Row, WARM_UP};
use crate::turn::{DELTA, IDLE, TEXT, World, first};

/// Measures turns of one session and one bare claude, in turns.
pub async fn run(setting: &Setting) -> Result<Vec<Row>> {
    let world = World::start(setting).await?;
    let (session, mut stream, ..) = first(&world.hosted, world.hosted.environment()).await?;
    stream.until(IDLE).await?;
    let mut bare = world.recipe.start(TEXT).await?;
    bare.idle().await?;
    let claude = world.hosted.claude().await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + setting.rounds {
        until("a frozen session", || frozen(claude).then_some(())).await?;
        let (one, other);
        if round % 2 == 0 {
            one = thawed(&session, &mut stream).await?;
            other = next(&mut bare).await?;
        } else {
            other = next(&mut bare).await?;
            one = thawed(&session, &mut stream).await?;
        }
        if round >= WARM_UP {
            ours.push(one);
            theirs.push(other);
        }
    }
    bare.stop().await?;
    session.delete().await?;
    world.hosted.empty().await?;
    world.stop().await?;
    Ok(vec![
        Row::times(
            "message to a frozen session → first text",
            &ours,
            &[Bound::Added(20.0)],
        )
        .against("bare claude, prompt → first text", &theirs),
    ])
}

async fn thawed(session: &Session, stream: &mut Stream) -> Result<Duration> {
    quiet().await?;
    let begun = Instant::now();
    session.say(TEXT).await?;
    let took = stream.until(DELTA).await? - begun;
    stream.until(IDLE).await?;
    Ok(took)
}

async fn next(bare: &mut Bare) -> Result<Duration> {
    quiet().await?;
    let begun = Instant::now();
    bare.say(TEXT).await?;
    let took = bare.delta().await? - begun;
    bare.idle().await?;
    Ok(took)
}
