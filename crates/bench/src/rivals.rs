//! Rivals that come as packages, for orientation: from the call that creates a session to its
//! first text, one and ten at once, against the bare claude in the same run. They drive the same
//! claude binary and talk to the same scripted model.
//!
//! Nothing here installs a rival; one that is not there gives a row that says how. They are looked
//! for below the folder in `BENCH_RIVALS` (`--rivals` of the command) and on the PATH. All of it
//! runs in a network of its own that has nothing but loopback.
//!
//! To add one: a file below `rivals/` with a type that is a [`Rival`], and a line in [`run`].

mod home;
mod omnigent;
mod sandbox_agent;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};
use tokio::task::JoinSet;

use crate::Setting;
use crate::quiet::quiet;
use crate::row::{Row, WARM_UP};
use crate::turn::{self, CROWD, CROWD_ROUNDS, TEXT, World};
use home::Home;

/// A rival that runs.
trait Rival: Sized + Send + Sync + 'static {
    /// Its name.
    const NAME: &str;
    /// The programs that it needs.
    const PROGRAMS: &[&str];
    /// What installs them.
    const INSTALL: &str;

    /// Starts it and waits until it would take a session.
    async fn start(home: &Home) -> Result<Self>;

    /// Creates a session, asks [`TEXT`], and gives the moment of the first text at this client.
    fn first(&self) -> impl Future<Output = Result<Instant>> + Send;

    /// Ends the sessions, so that the next one begins as the first did.
    async fn clear(&self) -> Result<()>;
}

/// Leaves the machine's network for one that has loopback alone, when there is a rival to measure.
/// Everything that this thread starts afterwards is in it.
pub fn alone() -> Result<()> {
    if !installed::<sandbox_agent::SandboxAgent>() && !installed::<omnigent::Omnigent>() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network of its own: needs root")?;
    let status = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .context("cannot start ip: `apt-get install iproute2`")?;
    if !status.success() {
        bail!("`ip link set lo up` ended with {status}");
    }
    Ok(())
}

/// Measures the ones that are there.
pub async fn run(setting: &Setting) -> Result<Vec<Row>> {
    let mut rows = of::<sandbox_agent::SandboxAgent>(setting).await?;
    rows.extend(of::<omnigent::Omnigent>(setting).await?);
    Ok(rows)
}

async fn of<R: Rival>(setting: &Setting) -> Result<Vec<Row>> {
    let one = format!("{}, create → first text", R::NAME);
    let ten = format!("{}, ten at once, the slowest", R::NAME);
    if !installed::<R>() {
        let why = format!("not installed ({})", R::INSTALL);
        return Ok(vec![Row::missing(&one, &why), Row::missing(&ten, &why)]);
    }
    let world = Arc::new(World::start(setting).await?);
    let home = Home::new(&setting.cli, &world.model.url())?;
    let measured = measure::<R>(setting, &world, &home).await;
    let [ones, tens] = measured.with_context(|| format!("{}: {}", R::NAME, home.log()))?;
    home.close()?;
    if let Some(world) = Arc::into_inner(world) {
        world.stop().await?;
    }
    Ok(vec![
        Row::times(&one, &ones.ours, &[]).against("bare claude, spawn → first text", &ones.theirs),
        Row::times(&ten, &tens.ours, &[]).against("ten bare claudes at once", &tens.theirs),
    ])
}

/// Samples of both sides.
#[derive(Default)]
struct Pairs {
    ours: Vec<Duration>,
    theirs: Vec<Duration>,
}

/// One and ten, on one server that stays; ending the sessions is outside the time.
async fn measure<R: Rival>(
    setting: &Setting,
    world: &Arc<World>,
    home: &Home,
) -> Result<[Pairs; 2]> {
    let rival = Arc::new(R::start(home).await?);
    let (mut ones, mut tens) = (Pairs::default(), Pairs::default());
    for round in 0..WARM_UP + setting.rounds {
        let (took, bare) = if round % 2 == 0 {
            let took = one(&*rival).await?;
            (took, bare(world).await?)
        } else {
            let bare = bare(world).await?;
            (one(&*rival).await?, bare)
        };
        if round >= WARM_UP {
            ones.ours.push(took);
            ones.theirs.push(bare);
        }
    }
    for _ in 0..setting.rounds.min(CROWD_ROUNDS) {
        quiet().await?;
        tens.ours.push(crowd(&rival).await?);
        quiet().await?;
        tens.theirs.push(turn::bare_crowd(world).await?);
    }
    Ok([ones, tens])
}

async fn one(rival: &impl Rival) -> Result<Duration> {
    quiet().await?;
    let begun = Instant::now();
    let took = rival.first().await? - begun;
    rival.clear().await?;
    Ok(took)
}

async fn crowd<R: Rival>(rival: &Arc<R>) -> Result<Duration> {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..CROWD {
        let rival = rival.clone();
        tasks.spawn(async move { rival.first().await });
    }
    let mut slowest = begun;
    for at in tasks.join_all().await {
        slowest = slowest.max(at?);
    }
    rival.clear().await?;
    Ok(slowest - begun)
}

async fn bare(world: &World) -> Result<Duration> {
    quiet().await?;
    let mut bare = world.recipe.start(TEXT).await?;
    let took = bare.delta().await? - bare.started;
    bare.idle().await?;
    bare.stop().await?;
    Ok(took)
}

fn installed<R: Rival>() -> bool {
    R::PROGRAMS.iter().all(|program| find(program).is_some())
}

/// A program, where rivals may be.
fn find(program: &str) -> Option<PathBuf> {
    places()
        .into_iter()
        .map(|place| place.join(program))
        .find(|path| path.is_file())
}

/// Where pip and npm put programs below the folder that was named, then the PATH.
fn places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Some(folder) = std::env::var_os("BENCH_RIVALS").map(PathBuf::from) {
        places.extend([folder.join("bin"), folder.join("node_modules/.bin")]);
    }
    if let Some(path) = std::env::var_os("PATH") {
        places.extend(std::env::split_paths(&path));
    }
    places
}
