//! A session that gets a sandbox in which claude waits already, against a bare claude that waits
//! as well; and ten of them at once.
//!
//! A spare is ready when it is frozen, which is the last thing that happens to it. What a claim costs
//! the others, a new spare that is made in the background, is in the time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tokio::task::JoinSet;

use crate::Setting;
use crate::bare::Bare;
use crate::hosted::{Hosted, until};
use crate::kernel::frozen;
use crate::quiet::quiet;
use crate::row::{Bound, Row, WARM_UP};
use crate::turn::{CROWD, TEXT, World, finish, first};

/// A claude works on for a while after it has said that it is ready. A bare one gets the time as well.
const SETTLE: Duration = Duration::from_secs(2);
/// Crowds take seconds to make ready.
const CROWD_ROUNDS: usize = 10;

/// One at a time, with a pool of one.
pub async fn one(setting: &Setting) -> Result<Vec<Row>> {
    let (ours, theirs) = rounds(setting, 1, setting.rounds).await?;
    Ok(vec![
        Row::times(
            "POST session → first text, pool warm",
            &ours,
            &[Bound::Added(15.0)],
        )
        .against("bare claude, initialised, prompt → first text", &theirs),
    ])
}

/// Ten at once, with a pool of ten; the time of the slowest.
pub async fn ten(setting: &Setting) -> Result<Vec<Row>> {
    let (ours, theirs) = rounds(setting, CROWD, setting.rounds.min(CROWD_ROUNDS)).await?;
    Ok(vec![
        Row::times(
            "ten such at once, pool of ten, the slowest",
            &ours,
            &[Bound::Ratio(1.3)],
        )
        .against("ten bare claudes, initialised", &theirs),
    ])
}

async fn rounds(
    setting: &Setting,
    count: usize,
    rounds: usize,
) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let world = Arc::new(World::start(setting).await?);
    let hosting = json!({"pool": {"min": count, "max": count}});
    let environment: Arc<str> = world.hosted.hosting(&hosting).await?.into();
    // The first session of an agent is what a pool is made for.
    let (session, stream, ..) = first(&world.hosted, &environment).await?;
    finish(session, stream).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + rounds {
        let (one, other);
        if round % 2 == 0 {
            one = warm(&world, &environment, count).await?;
            other = bare(&world, count).await?;
        } else {
            other = bare(&world, count).await?;
            one = warm(&world, &environment, count).await?;
        }
        if round >= WARM_UP {
            ours.push(one);
            theirs.push(other);
        }
    }
    if let Some(world) = Arc::into_inner(world) {
        world.stop().await?;
    }
    Ok((ours, theirs))
}

/// Waits until nothing is there but so many spares.
async fn stocked(hosted: &Hosted, count: usize) -> Result<()> {
    until("the spares", || {
        let claudes = hosted.claudes();
        let ready = claudes.len() == count && claudes.into_iter().all(frozen);
        (ready && hosted.guests().len() == count).then_some(())
    })
    .await
}

async fn warm(world: &Arc<World>, environment: &Arc<str>, count: usize) -> Result<Duration> {
    stocked(&world.hosted, count).await?;
    quiet().await?;
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let (world, environment) = (world.clone(), environment.clone());
        tasks.spawn(async move { first(&world.hosted, &environment).await });
    }
    let mut slowest = begun;
    for done in tasks.join_all().await {
        let (session, stream, _, at) = done?;
        slowest = slowest.max(at);
        finish(session, stream).await?;
    }
    // The bare ones come next, and new spares are to be made by then.
    stocked(&world.hosted, count).await?;
    Ok(slowest - begun)
}

async fn bare(world: &Arc<World>, count: usize) -> Result<Duration> {
    let mut claudes = Vec::new();
    for _ in 0..count {
        claudes.push(world.recipe.ready().await?);
    }
    tokio::time::sleep(SETTLE).await;
    quiet().await?;
    let begun = Instant::now();
    let mut tasks: JoinSet<Result<(Bare, Instant)>> = JoinSet::new();
    for mut claude in claudes {
        tasks.spawn(async move {
            claude.say(TEXT).await?;
            let at = claude.delta().await?;
            Ok((claude, at))
        });
    }
    let mut slowest = begun;
    for done in tasks.join_all().await {
        let (mut claude, at) = done?;
        slowest = slowest.max(at);
        claude.idle().await?;
        claude.stop().await?;
    }
    Ok(slowest - begun)
}
