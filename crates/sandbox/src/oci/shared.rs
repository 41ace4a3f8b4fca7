//! What all sandboxes of one provider share: places, permits, slots of user ids.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore, watch},
    task::JoinHandle,
};

use super::{
    bundle::IDS,
    cgroup::Cgroups,
    request::{Ids, Maker},
    rootfs::Root,
    way::Way,
};
use crate::provider::{
    Abilities, Description, DiskLimit, Isolation, Levels, ProviderError, SandboxId,
};

/// Sandboxes at one time: a bound on ids, far above what memory allows.
const SLOTS: u32 = 4096;

/// Who the processes inside are on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// A range for each sandbox, beginning at this id.
    Ranges(u32),
    /// The same id as on the host.
    Shared,
    /// We are not root.
    Own,
}

/// Everything but the sandboxes themselves.
pub(super) struct Shared {
    pub data: PathBuf,
    pub helper: PathBuf,
    /// The guest program, on disk.
    pub guest: PathBuf,
    pub disk: DiskLimit,
    /// The first is the usual one.
    pub ways: Vec<Way>,
    pub levels: Levels,
    pub identity: Identity,
    pub lost: Vec<String>,
    /// Whether guests see what is sent elsewhere than by the ways out.
    pub watched: bool,
    /// None if this host lets us make no control groups.
    pub cgroups: Option<Cgroups>,
    /// The root that shows the host's programs.
    pub host_root: Root,
    /// Making a container is work for a processor: more at once would only make all slower.
    pub permits: Arc<Semaphore>,
    /// One template is made at a time.
    pub template: Arc<AsyncMutex<()>>,
    pub table: Mutex<Table>,
}

/// What we remember for convenience; all of it can be lost.
#[derive(Default)]
pub(super) struct Table {
    /// Slots of user ids in use.
    slots: BTreeSet<u32>,
    held: HashMap<SandboxId, u32>,
    /// One lock per sandbox that somebody works on.
    locks: HashMap<SandboxId, Weak<AsyncMutex<()>>>,
    /// The tasks that look after helpers and logs.
    pub keepers: HashMap<SandboxId, Keeper>,
}

/// Looks after a sandbox's helper until it ends, then after its log.
pub(super) struct Keeper {
    /// Turns true when the helper has been reaped: from then on its container is our child.
    pub helper_gone: watch::Receiver<bool>,
    /// Ends when the last process that holds the log has ended.
    pub task: JoinHandle<()>,
    /// The first process.
    pub pid: i32,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    pub fn abilities(&self) -> Abilities {
        let usual = self.usual();
        Abilities {
            provider: "oci".into(),
            runtime: usual.runtime.clone(),
            levels: self.levels.clone(),
            lost: self.lost_by(usual),
            limits: self.cgroups.is_some(),
            freezes: self.cgroups.is_some(),
            groups: self.cgroups.is_some() && usual.isolation != Isolation::Gvisor,
        }
    }

    pub fn description(&self, way: &Way) -> Description {
        Description {
            provider: "oci".into(),
            runtime: way.runtime.clone(),
            isolation: way.isolation,
            lost: self.lost_by(way),
            disk: self.disk,
        }
    }

    /// The way to a sandbox that is isolated at least so well.
    pub fn way(&self, least: Option<Isolation>) -> Result<&Way, ProviderError> {
        let level = self.levels.at_least(least)?;
        let found = self.ways.iter().find(|way| way.isolation == level);
        Ok(found.expect("every level that is not absent has its way"))
    }

    /// Where runtimes of the host keep their state, each with its program.
    pub fn runtimes(&self) -> impl Iterator<Item = (&Path, &Path)> {
        self.ways.iter().filter_map(|way| match &way.maker {
            Maker::Program { path, state, .. } => Some((path.as_path(), state.as_path())),
            Maker::Embedded | Maker::Process => None,
        })
    }

    fn usual(&self) -> &Way {
        self.ways.first().expect("the usual way was found first")
    }

    fn lost_by(&self, way: &Way) -> Vec<String> {
        self.lost.iter().chain(&way.lost).cloned().collect()
    }

    /// Where a sandbox's own files are.
    pub fn directory(&self, id: &SandboxId) -> PathBuf {
        self.sandboxes().join(id.as_str())
    }

    pub fn sandboxes(&self) -> PathBuf {
        self.data.join("sandboxes")
    }

    pub fn table(&self) -> MutexGuard<'_, Table> {
        // Every change is one insertion or removal, so a panic leaves nothing half done.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else makes or destroys this sandbox.
    pub async fn lock(&self, id: &SandboxId) -> OwnedMutexGuard<()> {
        let lock = {
            let mut table = self.table();
            table.locks.retain(|_, lock| lock.strong_count() > 0);
            let known = table.locks.get(id).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::new(AsyncMutex::new(()));
                table.locks.insert(id.clone(), Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }

    /// Waits until the helper that made this sandbox has ended, if it is one of ours.
    pub async fn helper_gone(&self, id: &SandboxId) {
        let keeper = |table: &Table| Some(table.keepers.get(id)?.helper_gone.clone());
        let helper = keeper(&self.table());
        if let Some(mut helper) = helper {
            // The sender goes with the task that waits for the helper: either way it is over.
            let _ = helper.wait_for(|gone| *gone).await;
        }
    }

    /// Takes the lowest free slot of user ids.
    pub fn take_ids(&self, id: &SandboxId) -> Result<Ids, ProviderError> {
        let base = match self.identity {
            Identity::Own => return Ok(Ids::Own),
            Identity::Shared => return Ok(Ids::Shared),
            Identity::Ranges(base) => base,
        };
        let mut table = self.table();
        let slot = (0..SLOTS)
            .find(|slot| !table.slots.contains(slot))
            .ok_or(ProviderError::Full { limit: SLOTS })?;
        table.hold(id.clone(), slot);
        Ok(Ids::Range(base + slot * IDS))
    }
}

impl Table {
    pub fn hold(&mut self, id: SandboxId, slot: u32) {
        self.slots.insert(slot);
        self.held.insert(id, slot);
    }

    /// Forgets a sandbox that is no more.
    pub fn release(&mut self, id: &SandboxId) {
        if let Some(slot) = self.held.remove(id) {
            self.slots.remove(&slot);
        }
        self.keepers.remove(id);
    }

    /// The first processes of all sandboxes we know.
    pub fn pids(&self) -> Vec<i32> {
        self.keepers.values().map(|keeper| keeper.pid).collect()
    }
}
