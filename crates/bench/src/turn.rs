//! Turns: from the request to the first text at the client, cold and on a live session, against
//! the bare claude; and ten at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use model::{Model, Options};
use tokio::task::JoinSet;

use crate::Setting;
use crate::bare::{Bare, Recipe};
use crate::hosted::{Hosted, Session};
use crate::http::Stream;
use crate::quiet::quiet;
use crate::row::{Bound, Row, WARM_UP};

/// What is asked: the scripted model says this much.
pub const TEXT: &str = "@say Hello from the model.";
/// The first text.
pub const DELTA: &[u8] = b"event: event_delta\n";
/// The end of the turn.
pub const IDLE: &[u8] = b"event: session.status_idle\n";
/// Between the turns, so that what claude does after its start and after an answer is not measured with
/// the next: it works on for almost two seconds, and on two processors that drowns what we add. Below
/// the two seconds after which a session is frozen.
const SETTLE: Duration = Duration::from_millis(1500);
/// How many a crowd is.
pub const CROWD: usize = 10;
/// A crowd takes seconds, and is for orientation.
pub const CROWD_ROUNDS: usize = 3;

/// Which rows are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The first turn.
    First,
    /// The second.
    Second,
    /// Both, of the same sessions.
    Both,
}

/// What both sides need.
pub struct World {
    /// The scripted model.
    pub model: model::Running,
    /// The server.
    pub hosted: Hosted,
    /// How the bare claude is started.
    pub recipe: Recipe,
}

/// Times of one side.
#[derive(Default)]
struct Times {
    first: Vec<Duration>,
    second: Vec<Duration>,
}

impl World {
    /// Starts the model and the server, and looks how the server starts claude.
    pub async fn start(setting: &Setting) -> Result<World> {
        let options = Options {
            key: None,
            keep_requests: 0,
        };
        let model = Model::bind_with(([127, 0, 0, 1], 0).into(), options)
            .await?
            .spawn();
        let hosted = Hosted::start(&setting.hostel, &setting.cli, &model.url()).await?;
        let (session, stream, ..) = first(&hosted, hosted.environment()).await?;
        let recipe = Recipe::of(&hosted, setting.cli.clone(), &model.url()).await?;
        finish(session, stream).await?;
        hosted.empty().await?;
        Ok(World {
            model,
            hosted,
            recipe,
        })
    }

    /// Ends all of it.
    pub async fn stop(self) -> Result<()> {
        self.hosted.stop().await?;
        self.model.stop().await;
        Ok(())
    }
}

/// Measures both turns of the same sessions, ours and the bare claude's in turns.
pub async fn run(setting: &Setting, which: Which) -> Result<Vec<Row>> {
    let world = World::start(setting).await?;
    let (mut ours, mut theirs) = (Times::default(), Times::default());
    for round in 0..WARM_UP + setting.rounds {
        let pairs = if round % 2 == 0 {
            let hosted = hosted(&world).await?;
            (hosted, bare(&world).await?)
        } else {
            let bare = bare(&world).await?;
            (hosted(&world).await?, bare)
        };
        if std::env::var_os("BENCH_TRACE").is_some() {
            eprintln!("{pairs:?}");
        }
        if round >= WARM_UP {
            ours.first.push(pairs.0.0);
            ours.second.push(pairs.0.1);
            theirs.first.push(pairs.1.0);
            theirs.second.push(pairs.1.1);
        }
    }
    world.stop().await?;
    let first = Row::times(
        "first turn, POST session → first text",
        &ours.first,
        &[Bound::Added(40.0), Bound::TailRatio(1.3)],
    )
    .against("bare claude, spawn → first text", &theirs.first);
    let second = Row::times(
        "second turn, POST message → first text",
        &ours.second,
        &[Bound::Added(8.0)],
    )
    .against("bare claude, prompt → first text", &theirs.second);
    Ok(match which {
        Which::First => vec![first],
        Which::Second => vec![second],
        Which::Both => vec![first, second],
    })
}

/// How long until all of a crowd have their first text.
pub async fn crowd(setting: &Setting) -> Result<Vec<Row>> {
    let world = Arc::new(World::start(setting).await?);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..setting.rounds.min(CROWD_ROUNDS) {
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..CROWD {
            let world = world.clone();
            tasks.spawn(async move { first(&world.hosted, world.hosted.environment()).await });
        }
        let mut slowest = begun;
        for done in tasks.join_all().await {
            let (session, stream, _, at) = done?;
            slowest = slowest.max(at);
            finish(session, stream).await?;
        }
        world.hosted.empty().await?;
        ours.push(slowest - begun);

        theirs.push(bare_crowd(&world).await?);
    }
    if let Some(world) = Arc::into_inner(world) {
        world.stop().await?;
    }
    Ok(vec![
        Row::times("ten first turns at once, the slowest", &ours, &[])
            .against("ten bare claudes at once", &theirs),
    ])
}

/// How long until all of a crowd of bare claudes have their first text.
pub async fn bare_crowd(world: &Arc<World>) -> Result<Duration> {
    let begun = Instant::now();
    let mut tasks: JoinSet<Result<(Bare, Instant)>> = JoinSet::new();
    for _ in 0..CROWD {
        let world = world.clone();
        tasks.spawn(async move {
            let mut bare = world.recipe.start(TEXT).await?;
            let at = bare.delta().await?;
            Ok((bare, at))
        });
    }
    let mut slowest = begun;
    for done in tasks.join_all().await {
        let (bare, at) = done?;
        slowest = slowest.max(at);
        bare.stop().await?;
    }
    Ok(slowest - begun)
}

/// Makes a session with its first message and waits for the first text. The stream is opened as
/// soon as the session's id is known, long before there is any text.
pub async fn first(
    hosted: &Hosted,
    environment: &str,
) -> Result<(Session, Stream, Duration, Instant)> {
    let begun = Instant::now();
    let session = hosted.session_in(environment, Some(TEXT)).await?;
    let mut stream = session.stream().await?;
    let at = stream.until(DELTA).await?;
    Ok((session, stream, at - begun, at))
}

/// Waits for the end of the turn and deletes the session.
pub async fn finish(session: Session, mut stream: Stream) -> Result<()> {
    stream.until(IDLE).await?;
    session.delete().await
}

async fn hosted(world: &World) -> Result<(Duration, Duration)> {
    quiet().await?;
    let (session, mut stream, first, _) = first(&world.hosted, world.hosted.environment()).await?;
    stream.until(IDLE).await?;
    tokio::time::sleep(SETTLE).await;
    let begun = Instant::now();
    session.say(TEXT).await?;
    let second = stream.until(DELTA).await? - begun;
    finish(session, stream).await?;
    world.hosted.empty().await?;
    Ok((first, second))
}

async fn bare(world: &World) -> Result<(Duration, Duration)> {
    quiet().await?;
    let mut bare = world.recipe.start(TEXT).await?;
    let first = bare.delta().await? - bare.started;
    bare.idle().await?;
    tokio::time::sleep(SETTLE).await;
    let begun = Instant::now();
    bare.say(TEXT).await?;
    let second = bare.delta().await? - begun;
    bare.idle().await?;
    bare.stop().await?;
    Ok((first, second))
}
