//! One live sandbox: made, served, watched, ended. A task of its own keeps it, so that it ends properly
//! whatever becomes of those who sit in it.
//!
//! ```text
//!   making ──▶ live (seats come and go) ──the last seat left, or it ended──▶ ended ──▶ gone (destroyed)
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use egress::{Authority, ClientId, Egress, Placeholder};
use sandbox::guest_channel::{Arrival, Guest, GuestIo, Incoming, Stats, Stray, Transparent};
use sandbox::{
    Isolation, LimitHits, MEMBER_IDS, Mount, Provider, Resources, Rootfs, SandboxId, Spec, Trusted,
};
use snapshot::SnapshotId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Fleet;
use super::places::{Held, Name, Size};
use crate::session::place;
use crate::session::runner::{Ended, News};

/// How often a sandbox is asked whether it hit a limit.
const LIMITS_EVERY: Duration = Duration::from_secs(2);

/// What a sandbox is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Whose place it takes.
    pub workspace: Name,
    /// What it sees as its root.
    pub rootfs: Rootfs,
    /// Its limits.
    pub resources: Resources,
    /// The claude binary on the host.
    pub cli: PathBuf,
    /// Whether several sessions may sit in it.
    pub members: bool,
    /// The least that must stand between it and the host.
    pub isolation: Option<Isolation>,
}

impl Plan {
    /// What it takes of what its workspace may use.
    pub(super) fn size(&self) -> Size {
        Size {
            memory: self.resources.memory_bytes,
            disk: self.resources.disk_bytes,
        }
    }
}

/// Who sits in a seat.
#[derive(Debug, Clone)]
pub struct Sitter {
    /// Whose money its model calls cost.
    pub client: ClientId,
    /// What its model calls must show; `None` where nobody else could make them.
    pub key: Option<Placeholder>,
    /// Where it is told what happens to the sandbox; a slow listener slows claude.
    pub news: mpsc::Sender<News>,
}

/// A sandbox whose guest answers.
pub struct Sandbox {
    pub(super) id: SandboxId,
    pub(super) guest: Guest,
    pub(super) provider: Arc<dyn Provider>,
    /// Its limits.
    pub(super) resources: Resources,
    /// When it was made.
    pub(super) made: Instant,
    /// What the common directory came from or went to last, and when; who saves it holds the lock.
    pub(super) common: tokio::sync::Mutex<Option<(SnapshotId, i64)>>,
    /// Whether several sessions may sit in it.
    members: bool,
    /// Signs for hosts inside.
    authority: Arc<Authority>,
    /// Who sits where; a seat that is empty is a spare's.
    sitters: Mutex<BTreeMap<u32, Option<Sitter>>>,
    /// The number of the next seat. Numbers are not used again: files of the last one may be left.
    next: AtomicU32,
    /// Rings when a seat was given back.
    left: watch::Sender<()>,
    stop: CancellationToken,
    ended: watch::Receiver<Option<Ended>>,
}

impl Sandbox {
    /// Makes a sandbox. It has no seat yet; whoever waits for it takes the first one.
    pub(super) async fn open(
        fleet: &Arc<Fleet>,
        plan: Plan,
        permit: Held,
    ) -> Result<Arc<Sandbox>, Ended> {
        let id = fleet.new_id();
        let (ready, made) = oneshot::channel();
        fleet.wanted(&id);
        let keeper = keep(fleet.clone(), id, plan, ready, permit);
        fleet.tasks.spawn(keeper);
        made.await
            .unwrap_or_else(|_| Err(Ended::new("the sandbox's keeper failed", true)))
    }

    /// Takes a seat; `None` when there will be none.
    pub(super) fn sit(self: &Arc<Self>, sitter: Option<Sitter>, max: u32) -> Option<Chair> {
        let mut sitters = self.lock();
        let taken = u32::try_from(sitters.len()).unwrap_or(u32::MAX);
        if taken >= max || self.stop.is_cancelled() || self.ended.borrow().is_some() {
            return None;
        }
        let seat = self.next.fetch_add(1, Ordering::Relaxed);
        if seat >= place::SEATS {
            return None;
        }
        sitters.insert(seat, sitter);
        Some(Chair {
            sandbox: self.clone(),
            seat,
        })
    }

    /// A spare's seat is somebody's from now on.
    pub(super) fn give(&self, seat: u32, sitter: Sitter) {
        self.lock().insert(seat, Some(sitter));
    }

    /// Gives a seat back. A sandbox in which nobody sits ends.
    fn leave(&self, seat: u32) {
        let mut sitters = self.lock();
        sitters.remove(&seat);
        if sitters.is_empty() {
            self.stop.cancel();
        }
        drop(sitters);
        self.left.send_replace(());
    }

    /// Tells when a seat is given back from now on.
    pub(super) fn left(&self) -> watch::Receiver<()> {
        self.left.subscribe()
    }

    /// Waits until it has ended, and says why.
    pub(super) async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(why) => why.clone().expect("we waited for a reason"),
            Err(_) => Ended::new("the sandbox's keeper failed", true),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.stop.is_cancelled() || self.ended.borrow().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Option<Sitter>>> {
        self.sitters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who made a connection, by the tag of the port that took it.
    fn sitter(&self, tag: &str) -> Option<(Way, Sitter)> {
        let (way, seat) = tag.split_once('.')?;
        let way = match way {
            place::MODEL => Way::Model,
            place::PROXY => Way::Proxy,
            _ => return None,
        };
        let sitter = self.lock().get(&seat.parse().ok()?)?.clone()?;
        Some((way, sitter))
    }

    /// Whose a process is, by its user where there are several.
    fn sitter_of(&self, uid: Option<u32>) -> Option<Sitter> {
        let sitters = self.lock();
        if !self.members {
            return sitters.values().next()?.clone();
        }
        let seat = uid?.checked_sub(MEMBER_IDS.start)?;
        sitters.get(&seat)?.clone()
    }

    /// The most memory, in bytes, that one of several may have: less than the sandbox, so that whoever
    /// takes too much loses its own processes and not those of the others.
    pub(super) fn member_memory(&self) -> u64 {
        self.resources.memory_bytes / 4 * 3
    }

    async fn tell(&self, message: String) {
        let sitters: Vec<Sitter> = self.lock().values().flatten().cloned().collect();
        for sitter in sitters {
            let _ = sitter.news.send(News::Limit(message.clone())).await;
        }
    }
}

/// A seat that is taken, furnished or not. Dropping it gives it back.
pub(super) struct Chair {
    pub(super) sandbox: Arc<Sandbox>,
    /// Its number.
    pub(super) seat: u32,
}

impl Drop for Chair {
    fn drop(&mut self) {
        self.sandbox.leave(self.seat);
    }
}

enum Way {
    Model,
    Proxy,
}

/// Keeps a sandbox from its making to its end.
async fn keep(
    fleet: Arc<Fleet>,
    id: SandboxId,
    plan: Plan,
    ready: oneshot::Sender<Result<Arc<Sandbox>, Ended>>,
    permit: Held,
) {
    let stop = CancellationToken::new();
    let (ended_sender, ended) = watch::channel(None);
    // The one who waits for the sandbox may go away while it is made.
    let made = make(&fleet, &id, &plan).await;
    let why = match made {
        Err(ended) => {
            let ended = explain(ended, &id, &fleet).await;
            let _ = ready.send(Err(ended.clone()));
            ended
        }
        Ok((guest, incoming, authority, _transparent)) => {
            let sandbox = Arc::new(Sandbox {
                id: id.clone(),
                guest: guest.clone(),
                provider: fleet.provider.clone(),
                resources: plan.resources,
                made: Instant::now(),
                common: tokio::sync::Mutex::default(),
                members: plan.members,
                authority,
                sitters: Mutex::default(),
                next: AtomicU32::new(0),
                left: watch::Sender::new(()),
                stop: stop.clone(),
                ended,
            });
            let wanted = ready.send(Ok(sandbox.clone())).is_ok();
            if wanted {
                live(&fleet, &sandbox, incoming, &plan).await;
            }
            guest.close();
            explain(Ended::new("the sandbox ended", true), &id, &fleet).await
        }
    };
    // Nobody sits down in it any more.
    stop.cancel();
    let _ = ended_sender.send(Some(why));
    if let Err(error) = fleet.provider.destroy(&id).await {
        tracing::error!(sandbox.id = %id, error = &error as &dyn std::error::Error, "cannot destroy sandbox {id}; the reconciler tries again");
    }
    fleet.gone(&id);
    drop(permit);
}

async fn make(
    fleet: &Fleet,
    id: &SandboxId,
    plan: &Plan,
) -> Result<(Guest, Incoming, Arc<Authority>, Transparent), Ended> {
    let authority = Authority::new();
    let authority =
        authority.map_err(|error| Ended::step("make the sandbox's authority", &error, true))?;
    let spec = Spec {
        id: id.clone(),
        rootfs: plan.rootfs.clone(),
        resources: plan.resources,
        read_only: vec![Mount {
            source: plan.cli.clone(),
            target: place::CLI.into(),
        }],
        trusted: Some(Trusted {
            all: fleet.egress.trusted(&authority).await,
            own: fleet.egress.unknown(&authority),
            java: fleet.egress.trusted_by_java(&authority).await,
        }),
        hostname: "sandbox".to_owned(),
        members: plan.members,
        isolation: plan.isolation,
    };
    let made = fleet.provider.create(&spec).await;
    let made = made.map_err(|error| Ended::step("make a sandbox", &error, true))?;
    let described = made.description;
    tracing::info!(
        sandbox.id = %id, sandbox.isolation = %described.isolation, sandbox.runtime = described.runtime, sandbox.lost = ?described.lost,
        "made sandbox {id}"
    );
    let connected = Guest::connect(made.stream).await;
    let (guest, incoming) =
        connected.map_err(|error| Ended::step("reach the guest of the sandbox", &error, true))?;
    let transparent = guest.transparent().await;
    let transparent = transparent
        .map_err(|error| Ended::step("open the transparent way in the sandbox", &error, true))?;
    Ok((guest, incoming, Arc::new(authority), transparent))
}

/// Serves the sandbox until it ends or is to end.
async fn live(fleet: &Fleet, sandbox: &Arc<Sandbox>, incoming: Incoming, plan: &Plan) {
    let mut carriers = JoinSet::new();
    carriers.spawn(serve(incoming, sandbox.clone(), fleet.egress.clone()));
    carriers.spawn(watch(sandbox.clone(), plan.members));
    if plan.members {
        carriers.spawn(sweep(sandbox.clone()));
    }
    tokio::select! {
        () = sandbox.guest.closed() => {}
        () = sandbox.stop.cancelled() => {}
    }
    carriers.shutdown().await;
}

/// Takes what the sandbox sends out to egress. Each connection is a task of this one.
async fn serve(mut incoming: Incoming, sandbox: Arc<Sandbox>, egress: Egress) {
    let mut connections: JoinSet<()> = JoinSet::new();
    while let Some(arrival) = incoming.next().await {
        while connections.try_join_next().is_some() {}
        let authority = sandbox.authority.clone();
        // A spare belongs to nobody, so nobody would pay; dropping what came refuses it.
        match arrival {
            Arrival::Accepted { tag, io } => {
                if let Some((way, sitter)) = sandbox.sitter(&tag) {
                    connections.spawn(way_out(way, sitter, authority, io, egress.clone()));
                }
            }
            Arrival::Reach {
                name,
                port,
                uid,
                io,
            } => {
                if let Some(sitter) = sandbox.sitter_of(uid) {
                    let egress = egress.clone();
                    connections.spawn(async move {
                        let client = sitter.client;
                        egress.serve_name(client, authority, &name, port, io).await;
                    });
                }
            }
            Arrival::Name {
                name,
                kind,
                uid,
                asker,
            } => {
                let Some(sitter) = sandbox.sitter_of(uid) else {
                    continue;
                };
                let ports = egress.name(&sitter.client, &name, kind);
                connections.spawn(async move {
                    match ports {
                        Some(ports) => asker.reached_on(ports).await,
                        None => asker.refused().await,
                    }
                });
            }
            Arrival::Strays { strays, more } => tell_strays(&sandbox, &egress, &strays, more),
        }
    }
}

/// Has what went nowhere recorded for whom it belongs to. What is nobody's is not: it was refused.
fn tell_strays(sandbox: &Sandbox, egress: &Egress, strays: &[Stray], more: u64) {
    let mut more = more;
    for stray in strays {
        if let Some(sitter) = sandbox.sitter_of(stray.uid) {
            let stray = egress::Stray {
                protocol: stray.protocol,
                address: stray.address,
                port: stray.port,
                count: stray.count,
            };
            // Those beyond count for whoever sent any.
            egress.strays(&sitter.client, &[stray], std::mem::take(&mut more));
        }
    }
}

async fn way_out(way: Way, sitter: Sitter, authority: Arc<Authority>, io: GuestIo, egress: Egress) {
    match way {
        Way::Model => egress.serve_model(sitter.client, sitter.key, io).await,
        Way::Proxy => egress.serve_proxy(sitter.client, authority, io).await,
    }
}

/// Removes the groups of seats that were given back, with whatever is left in them.
async fn sweep(sandbox: Arc<Sandbox>) {
    let mut left = sandbox.left();
    let mut swept = 0;
    while left.changed().await.is_ok() {
        let given = sandbox.next.load(Ordering::Relaxed);
        let taken: Vec<u32> = sandbox.lock().keys().copied().collect();
        for seat in (swept..given).filter(|seat| !taken.contains(seat)) {
            let group = super::seat::group(seat);
            if let Err(error) = sandbox.provider.kill_group(&sandbox.id, &group).await {
                tracing::warn!(sandbox.id = %sandbox.id, error = &error as &dyn std::error::Error, "cannot clear seat {seat} of sandbox {}", sandbox.id);
            }
        }
        swept = taken.first().copied().unwrap_or(given);
    }
}

/// Puts a memory kill in front: it explains the rest.
async fn explain(ended: Ended, id: &SandboxId, fleet: &Fleet) -> Ended {
    match fleet.provider.limits(id).await {
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

/// Asks for limits that were hit and tells each once. A frozen guest does not answer, and cannot hit
/// any; asking goes on when it is thawed.
async fn watch(sandbox: Arc<Sandbox>, members: bool) {
    let resources = sandbox.resources;
    let mut seen = LimitHits::default();
    // Memory kills of the members' groups, by seat.
    let mut own = BTreeMap::new();
    // A limit that is hit again and again is told once, until it was left alone for a while.
    let (mut refusing, mut full) = (false, false);
    let mut every = interval(LIMITS_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every.tick().await;
    loop {
        every.tick().await;
        if let Ok(hits) = sandbox.provider.limits(&sandbox.id).await {
            let told = match members {
                true => tell_members(&sandbox, &mut own).await,
                false => 0,
            };
            if hits.oom_kills > seen.oom_kills + told {
                let limit = resources.memory_bytes >> 20;
                let what = format!(
                    "the sandbox hit its memory limit of {limit} MiB and the kernel killed a process in it"
                );
                sandbox.tell(what).await;
            }
            let refused = hits.pids_refused > seen.pids_refused;
            if refused && !refusing {
                let what = format!(
                    "the sandbox hit its limit of {} processes; new ones were refused",
                    resources.pids
                );
                sandbox.tell(what).await;
            }
            refusing = refused;
            seen = hits;
        }
        let Ok(stats) = sandbox.guest.stats().await else {
            continue;
        };
        let found = disk_limit_hit(&stats, resources);
        let is_full = found.is_some();
        if let Some(what) = found.filter(|_| !full) {
            sandbox.tell(what).await;
        }
        full = is_full;
    }
}

/// Tells each member that hit its own memory limit since the last time; how many processes were killed.
async fn tell_members(sandbox: &Sandbox, seen: &mut BTreeMap<u32, u64>) -> u64 {
    let sitters: Vec<(u32, Option<Sitter>)> = sandbox.lock().clone().into_iter().collect();
    seen.retain(|seat, _| sitters.iter().any(|(taken, _)| taken == seat));
    let mut killed = 0;
    for (seat, sitter) in sitters {
        let group = super::seat::group(seat);
        let Ok(hits) = sandbox.provider.group_limits(&sandbox.id, &group).await else {
            continue;
        };
        let before = seen.insert(seat, hits.oom_kills).unwrap_or_default();
        let new = hits.oom_kills.saturating_sub(before);
        killed += new;
        if let (1.., Some(sitter)) = (new, sitter) {
            let what = format!(
                "the session hit its part of the sandbox's memory, {} MiB, and the kernel killed a process of it",
                sandbox.member_memory() >> 20
            );
            let _ = sitter.news.send(News::Limit(what)).await;
        }
    }
    killed
}

/// Which limit of its disk a sandbox has hit, in a sentence: bytes, or files of whatever size.
fn disk_limit_hit(stats: &Stats, resources: Resources) -> Option<String> {
    let full =
        |used: u64, total: u64| total > 0 && used.saturating_mul(100) >= total.saturating_mul(99);
    let limit = if full(stats.disk_used_bytes, stats.disk_total_bytes) {
        format!("disk limit of {} MiB", resources.disk_bytes >> 20)
    } else if full(stats.files_used, stats.files_total) {
        format!("limit of {} files", stats.files_total)
    } else {
        return None;
    };
    Some(format!(
        "the sandbox hit its {limit}; writes fail until files are removed"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_full_of_bytes_or_of_files() {
        let resources = Resources {
            disk_bytes: 64 << 20,
            ..Resources::default()
        };
        let told = |bytes, files| {
            let stats = Stats {
                disk_used_bytes: bytes,
                disk_total_bytes: 1000,
                files_used: files,
                files_total: 500,
                ..Stats::default()
            };
            disk_limit_hit(&stats, resources)
        };
        assert_eq!(told(989, 494), None);
        assert!(told(990, 0).unwrap().contains("disk limit of 64 MiB"));
        assert!(told(0, 495).unwrap().contains("limit of 500 files"));
        // A file system that does not say counts as one that has room.
        assert_eq!(disk_limit_hit(&Stats::default(), resources), None);
    }
}
