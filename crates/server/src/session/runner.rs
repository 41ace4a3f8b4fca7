//! One sandbox and the claude in it: brings them up, carries lines both ways, takes them down.
//!
//! ```text
//!   Waiting (for a place) ─▶ Making (sandbox, link) ─▶ Ready ◀──▶ Claude runs
//!                                                        └──────────┴──▶ Ended ─▶ (destroyed)
//! ```
//!
//! A runner knows nothing of turns. It follows [`Order`]s and tells its actor [`News`]. Claude may end
//! and be started again in the same sandbox, so its files outlive it. Cancelling the runner's token ends
//! it from any state; its task does not finish before the sandbox is gone.

mod process;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use claude::frame::Frame;
use claude::launch::Launch;
use sandbox::guest_channel::{Guest, GuestIo, Incoming, Listening};
use sandbox::{Mount, Provider, Resources, Rootfs, SandboxId, Spec};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::place;

/// How often a sandbox is asked whether it hit a limit.
const LIMITS_EVERY: Duration = Duration::from_secs(2);
/// Orders that wait while claude starts or is slow to read; the actor waits beyond that.
pub const ORDERS: usize = 64;

/// What a runner tells its actor.
#[derive(Debug)]
pub enum News {
    /// The sandbox is made and its guest answers.
    Up,
    /// Claude wrote this.
    Frame(Box<Frame>),
    /// A limit was hit; one sentence.
    Limit(String),
    /// Claude ended; the sandbox stays.
    ClaudeEnded(Ended),
    /// The sandbox is gone, or could not be made. Always the last news.
    Ended(Ended),
}

/// What an actor tells its runner.
#[derive(Debug)]
pub enum Order {
    /// Start claude.
    Start(Box<Start>),
    /// Write this line to claude.
    Line(Bytes),
    /// End claude.
    End,
}

/// How to start claude.
#[derive(Debug)]
pub struct Start {
    /// Its arguments, environment and first line.
    pub launch: Launch,
    /// A transcript to bring back first: a tar of files below the home directory.
    pub transcript: Option<Vec<u8>>,
    /// How long claude may take to say its first word.
    pub first_word: Duration,
}

/// Why claude or a sandbox ended.
#[derive(Debug)]
pub struct Ended {
    /// In one sentence for people.
    pub why: String,
    /// Whether another try makes sense.
    pub again: bool,
}

impl Ended {
    fn new(why: impl Into<String>, again: bool) -> Ended {
        Ended {
            why: why.into(),
            again,
        }
    }

    /// A step that failed, with all its causes.
    fn step(step: &str, error: &dyn std::error::Error, again: bool) -> Ended {
        let mut why = format!("cannot {step}: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            why.push_str(": ");
            why.push_str(&cause.to_string());
            source = cause.source();
        }
        Ended { why, again }
    }
}

/// What a sandbox is made of.
pub struct Plan {
    /// Its name.
    pub sandbox: SandboxId,
    /// What it sees as its root.
    pub rootfs: Rootfs,
    /// Its limits.
    pub resources: Resources,
    /// The claude binary on the host.
    pub cli: PathBuf,
}

/// Where a runner gets its sandbox and whom it serves.
pub struct Surroundings {
    /// Makes the sandbox.
    pub provider: Arc<dyn Provider>,
    /// Live sandboxes of this server; a permit each.
    pub places: Arc<Semaphore>,
    /// Carries what leaves the sandbox.
    pub egress: egress::Egress,
    /// Whom the sandbox belongs to.
    pub client: egress::ClientId,
    /// News for the actor; a slow actor slows claude.
    pub news: mpsc::Sender<News>,
}

/// Runs until the sandbox ends or `stop` is cancelled; the sandbox is destroyed when it returns.
pub async fn run(
    plan: Plan,
    around: Surroundings,
    orders: mpsc::Receiver<Order>,
    stop: CancellationToken,
) {
    let place = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        place = place(&around) => Some(place),
    };
    let ended = match place {
        None => Ended::new("it was stopped", false),
        Some(_held) => {
            let id = plan.sandbox.clone();
            let ended = tokio::select! {
                ended = live(plan, &around, orders) => ended,
                () = stop.cancelled() => Ended::new("it was stopped", false),
            };
            let ended = explain(ended, &id, &around).await;
            if let Err(error) = around.provider.destroy(&id).await {
                tracing::error!(sandbox.id = %id, error = &error as &dyn std::error::Error, "cannot destroy sandbox {id}; the reconciler tries again");
            }
            ended
        }
    };
    // An actor that is gone has no use for the news.
    let _ = around.news.send(News::Ended(ended)).await;
}

/// Waits for one of the server's places, and says so when there is none at once.
async fn place(around: &Surroundings) -> OwnedSemaphorePermit {
    if let Ok(place) = around.places.clone().try_acquire_owned() {
        return place;
    }
    tell(
        &around.news,
        "every sandbox that this server may have is in use; the turn begins when one is free"
            .to_owned(),
    )
    .await;
    around
        .places
        .clone()
        .acquire_owned()
        .await
        .expect("the places are never closed")
}

/// Puts a memory kill in front: it explains the rest.
async fn explain(ended: Ended, id: &SandboxId, around: &Surroundings) -> Ended {
    match around.provider.limits(id).await {
        Ok(hits) if hits.oom_kills > 0 => {
            let why = format!(
                "the sandbox ran out of memory and the kernel killed a process in it ({})",
                ended.why
            );
            Ended { why, ..ended }
        }
        _ => ended,
    }
}

async fn live(plan: Plan, around: &Surroundings, orders: mpsc::Receiver<Order>) -> Ended {
    let (id, resources) = (plan.sandbox.clone(), plan.resources);
    match bring_up(plan, around).await {
        Err(ended) => ended,
        Ok(Up {
            guest,
            incoming,
            _listening,
        }) => {
            let _ = around.news.send(News::Up).await;
            let mut carriers = JoinSet::new();
            carriers.spawn(serve(
                incoming,
                around.egress.clone(),
                around.client.clone(),
            ));
            carriers.spawn(watch(
                id,
                guest.clone(),
                around.provider.clone(),
                around.news.clone(),
                resources,
            ));
            let ended = tokio::select! {
                ended = process::follow(&guest, orders, &around.news) => ended,
                () = guest.closed() => Ended::new("the sandbox ended", true),
            };
            carriers.shutdown().await;
            guest.close();
            ended
        }
    }
}

/// A sandbox whose guest answers and listens.
struct Up {
    guest: Guest,
    incoming: Incoming,
    // Dropping these stops listening inside.
    _listening: (Listening, Listening),
}

async fn bring_up(plan: Plan, around: &Surroundings) -> Result<Up, Ended> {
    let Plan {
        sandbox: id,
        rootfs,
        resources,
        cli,
    } = plan;
    let read_only = vec![Mount {
        source: cli,
        target: place::CLI.into(),
    }];
    let spec = Spec {
        id: id.clone(),
        rootfs,
        resources,
        read_only,
        hostname: "sandbox".to_owned(),
        members: false,
    };
    let made = around
        .provider
        .create(&spec)
        .await
        .map_err(|error| Ended::step("make a sandbox", &error, true))?;
    let described = made.description;
    tracing::info!(
        sandbox.id = %id, session.id = %around.client, sandbox.runtime = described.runtime, sandbox.lost = ?described.lost,
        "made sandbox {id} for session {}", around.client
    );
    let (guest, incoming) = Guest::connect(made.stream)
        .await
        .map_err(|error| Ended::step("reach the guest of the sandbox", &error, true))?;
    let listening = tokio::try_join!(
        guest.listen(place::MODEL_PORT, place::MODEL),
        guest.listen(place::PROXY_PORT, place::PROXY)
    )
    .map_err(|error| Ended::step("listen inside the sandbox", &error, true))?;
    Ok(Up {
        guest,
        incoming,
        _listening: listening,
    })
}

/// Takes what the sandbox sends out to egress. Each connection is a task of this one.
async fn serve(mut incoming: Incoming, egress: egress::Egress, client: egress::ClientId) {
    let mut connections: JoinSet<()> = JoinSet::new();
    while let Some((tag, io)) = incoming.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(way_out(tag, io, egress.clone(), client.clone()));
    }
}

async fn way_out(tag: String, io: GuestIo, egress: egress::Egress, client: egress::ClientId) {
    match tag.as_str() {
        place::MODEL => egress.serve_model(client, None, io).await,
        place::PROXY => egress.serve_proxy(client, io).await,
        other => tracing::warn!("the guest opened a connection that nobody asked for: {other:?}"),
    }
}

/// Asks for limits that were hit and tells each once.
async fn watch(
    id: SandboxId,
    guest: Guest,
    provider: Arc<dyn Provider>,
    news: mpsc::Sender<News>,
    resources: Resources,
) {
    let mut seen = sandbox::LimitHits::default();
    // A limit that is hit again and again is told once, until it was left alone for a while.
    let (mut refusing, mut full) = (false, false);
    let mut every = tokio::time::interval(LIMITS_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    every.tick().await;
    loop {
        every.tick().await;
        if let Ok(hits) = provider.limits(&id).await {
            if hits.oom_kills > seen.oom_kills {
                let limit = resources.memory_bytes >> 20;
                tell(&news, format!("the sandbox hit its memory limit of {limit} MiB and the kernel killed a process in it")).await;
            }
            let refused = hits.pids_refused > seen.pids_refused;
            if refused && !refusing {
                tell(
                    &news,
                    format!(
                        "the sandbox hit its limit of {} processes; new ones were refused",
                        resources.pids
                    ),
                )
                .await;
            }
            refusing = refused;
            seen = hits;
        }
        let Ok(stats) = guest.stats().await else {
            continue;
        };
        let is_full = stats.disk_total_bytes > 0
            && stats.disk_used_bytes.saturating_mul(100)
                >= stats.disk_total_bytes.saturating_mul(99);
        if is_full && !full {
            tell(
                &news,
                format!(
                    "the sandbox hit its disk limit of {} MiB; writes fail until files are removed",
                    resources.disk_bytes >> 20
                ),
            )
            .await;
        }
        full = is_full;
    }
}

async fn tell(news: &mpsc::Sender<News>, message: String) {
    let _ = news.send(News::Limit(message)).await;
}
