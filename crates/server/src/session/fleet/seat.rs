//! A session's part of a sandbox: what its processes may use, and what can be done with them together.

use sandbox::guest_channel::{
    Guest, GuestIo, LinkError, Listening, Packed, Process, ProcessSpec, SpawnError,
};
use sandbox::{Footprint, GroupLimits};

use snapshot::SnapshotId;

use super::sandbox::{Chair, Sitter};
use crate::session::place::{self, Place};
use crate::session::runner::Ended;

/// A seat. Dropping it gives it back: what still runs in it is killed, and a sandbox that is empty
/// then ends.
pub struct Seat {
    chair: Chair,
    place: Place,
    /// Whether it has a directory in common with the others.
    shared: bool,
    frozen: bool,
    // Dropping these stops listening inside.
    _listening: (Listening, Listening),
}

/// What became of a seat that was to be frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stillness {
    /// Nothing runs in it.
    Frozen,
    /// It goes on, because something runs in it besides claude.
    Busy,
}

impl Seat {
    /// Furnishes a seat that was taken: its directories, its ports, its group.
    pub(super) async fn furnish(chair: Chair, place: Place, shared: bool) -> Result<Seat, Ended> {
        let guest = &chair.sandbox.guest;
        let model = format!("{}.{}", place::MODEL, place.seat);
        let proxy = format!("{}.{}", place::PROXY, place.seat);
        let listening = tokio::try_join!(
            listen(guest, &place, place.model_port, &model),
            listen(guest, &place, place.proxy_port, &proxy)
        );
        let listening =
            listening.map_err(|error| Ended::step("listen inside the sandbox", &error, true))?;
        let seat = Seat {
            chair,
            place,
            shared,
            frozen: false,
            _listening: listening,
        };
        seat.make_directories().await?;
        seat.make_group().await?;
        Ok(seat)
    }

    async fn make_directories(&self) -> Result<(), Ended> {
        let guest = &self.chair.sandbox.guest;
        let failed = |error| Ended::step("make the session's directories", &error, true);
        if let Some(user) = &self.place.user {
            if self.shared {
                let made = guest.make_dir(place::SHARED, 0o2770, Some(Place::sharing()));
                made.await.map_err(failed)?;
            }
            let mut own = self.place.roots();
            own.push(self.place.tmp.clone());
            for path in own {
                // Left by the session's last seat in this sandbox, which was another user.
                guest.remove_dir(&path).await.map_err(failed)?;
                let made = guest.make_dir(&path, 0o700, Some(user.clone()));
                made.await.map_err(failed)?;
            }
        }
        let outputs = self.place.outputs();
        let made = guest.make_dir(&outputs, 0o755, self.place.user.clone());
        made.await.map_err(failed)
    }

    async fn make_group(&self) -> Result<(), Ended> {
        let Some(group) = self.group() else {
            return Ok(());
        };
        let provider = &self.chair.sandbox.provider;
        let limits = GroupLimits {
            memory_bytes: Some(self.chair.sandbox.member_memory()),
        };
        let made = provider.group(&self.chair.sandbox.id, &group, limits);
        made.await
            .map_err(|error| Ended::step("make the session's control group", &error, true))
    }

    /// The name of its control group; `None` when it is alone.
    fn group(&self) -> Option<String> {
        self.place.user.as_ref().map(|_| group(self.place.seat))
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The sandbox's name.
    #[must_use]
    pub fn sandbox(&self) -> &::sandbox::SandboxId {
        &self.chair.sandbox.id
    }

    /// How old the sandbox is.
    #[must_use]
    pub fn age(&self) -> std::time::Duration {
        self.chair.sandbox.made.elapsed()
    }

    /// Waits until the sandbox has ended, and says why.
    pub fn ended(&self) -> impl Future<Output = Ended> + use<> {
        let sandbox = self.chair.sandbox.clone();
        async move { sandbox.ended().await }
    }

    /// Whether the sandbox has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.chair.sandbox.is_over()
    }

    /// The seat of a spare is this session's from now on.
    pub fn give(&self, sitter: Sitter) {
        self.chair.sandbox.give(self.place.seat, sitter);
    }

    /// Starts a process as the seat's user, in the seat's group.
    ///
    /// # Errors
    /// When the guest refuses it or the link ended.
    pub async fn spawn(&self, mut spec: ProcessSpec) -> Result<Process, SpawnError> {
        spec.user = self.place.user.clone();
        let process = self.chair.sandbox.guest.spawn(spec).await?;
        if let Some(group) = self.group() {
            let provider = &self.chair.sandbox.provider;
            if let Err(error) = provider
                .join(&self.chair.sandbox.id, &group, process.pid())
                .await
            {
                // It runs, but the seat cannot be frozen or measured by itself.
                tracing::warn!(sandbox.id = %self.chair.sandbox.id, error = &error as &dyn std::error::Error, "process {} is in no group", process.pid());
            }
        }
        Ok(process)
    }

    /// Stops everything in the seat, unless something runs in it besides claude: a server that the
    /// agent started, say.
    pub async fn freeze(&mut self, claude_runs: bool) -> Stillness {
        if self.frozen {
            return Stillness::Frozen;
        }
        // Claude's supervisor and the guest are in no group of a member.
        let ours = match (&self.place.user, claude_runs) {
            (None, true) => 3,
            (None, false) => 1,
            (Some(_), true) => 1,
            (Some(_), false) => 0,
        };
        let taken = self.footprint().await;
        if taken.is_none_or(|taken| taken.processes > ours) {
            return Stillness::Busy;
        }
        let group = self.group();
        let provider = &self.chair.sandbox.provider;
        // Before, so that one who stops waiting for it still thaws it.
        self.frozen = true;
        match provider
            .freeze(&self.chair.sandbox.id, group.as_deref())
            .await
        {
            Ok(()) => Stillness::Frozen,
            Err(error) => {
                self.frozen = false;
                tracing::warn!(sandbox.id = %self.chair.sandbox.id, error = &error as &dyn std::error::Error, "sandbox {} is not frozen", self.chair.sandbox.id);
                Stillness::Busy
            }
        }
    }

    /// Takes the least share of the processor, or its own again. Only for the only seat of a sandbox.
    pub async fn yield_to_others(&self, yields: bool) {
        let provider = &self.chair.sandbox.provider;
        if let Err(error) = provider
            .yield_to_others(&self.chair.sandbox.id, yields)
            .await
        {
            tracing::debug!(sandbox.id = %self.chair.sandbox.id, error = &error as &dyn std::error::Error, "sandbox {} keeps its share of the processor", self.chair.sandbox.id);
        }
    }

    /// Lifts the limit of the processor, or sets it again. Only for the only seat of a sandbox.
    pub async fn hurry(&self, hurries: bool) {
        if self.place.user.is_some() {
            return;
        }
        let sandbox = &self.chair.sandbox;
        let millis = (!hurries).then_some(sandbox.resources.cpu_millis);
        if let Err(error) = sandbox.provider.limit_processor(&sandbox.id, millis).await {
            tracing::debug!(sandbox.id = %sandbox.id, error = &error as &dyn std::error::Error, "sandbox {} keeps its limit of the processor", sandbox.id);
        }
    }

    /// Writes a tar archive below the home directory.
    ///
    /// # Errors
    /// When it cannot be written or the link ended.
    pub async fn unpack_home(
        &self,
        tar: impl tokio::io::AsyncRead + Send + Unpin,
    ) -> Result<(), LinkError> {
        let guest = &self.chair.sandbox.guest;
        guest
            .unpack(&self.place.home, self.place.user.clone(), tar)
            .await
    }

    /// What a snapshot keeps of the seat: everything, or what changed since `since_ns`.
    ///
    /// # Errors
    /// When it cannot be read or the link ended.
    pub async fn save(&self, since_ns: i64) -> Result<GuestIo, LinkError> {
        let (roots, user) = (self.place.roots(), self.place.user.clone());
        self.chair.sandbox.guest.save(roots, since_ns, user).await
    }

    /// Takes what a snapshot kept.
    ///
    /// # Errors
    /// When it cannot be written or the link ended.
    pub async fn restore(&self) -> Result<GuestIo, LinkError> {
        let (roots, user) = (self.place.roots(), self.place.user.clone());
        self.chair.sandbox.guest.restore(roots, user).await
    }

    /// The most bytes that its guest may send as the content of files: what the sandbox's disk can hold,
    /// and once more, because a file that changes while it is read comes again.
    #[must_use]
    pub fn most_content(&self) -> u64 {
        self.chair.sandbox.resources.disk_bytes.saturating_mul(2)
    }

    /// What became last of the directory that the seat has in common with others; `None` when it has
    /// none.
    pub fn common(&self) -> Option<&tokio::sync::Mutex<Option<(SnapshotId, i64)>>> {
        self.shared.then_some(&self.chair.sandbox.common)
    }

    /// Like [`Seat::save`], of the common directory.
    ///
    /// # Errors
    /// When it cannot be read or the link ended.
    pub async fn save_common(&self, since_ns: i64) -> Result<GuestIo, LinkError> {
        let (roots, user) = (vec![place::SHARED.to_owned()], self.place.user.clone());
        self.chair.sandbox.guest.save(roots, since_ns, user).await
    }

    /// Like [`Seat::restore`], of the common directory.
    ///
    /// # Errors
    /// When it cannot be written or the link ended.
    pub async fn restore_common(&self) -> Result<GuestIo, LinkError> {
        let (roots, user) = (vec![place::SHARED.to_owned()], self.place.user.clone());
        self.chair.sandbox.guest.restore(roots, user).await
    }

    /// The session's results as a tar archive.
    ///
    /// # Errors
    /// When they cannot be read or the link ended.
    pub async fn pack_outputs(&self) -> Result<Packed, LinkError> {
        let guest = &self.chair.sandbox.guest;
        let (outputs, user) = (self.place.outputs(), self.place.user.clone());
        guest.pack(&outputs, vec![".".to_owned()], user).await
    }

    /// What the seat takes, as the kernel counts it; `None` when it cannot be counted here.
    pub async fn footprint(&self) -> Option<Footprint> {
        let counted = self
            .chair
            .sandbox
            .provider
            .footprints(&self.chair.sandbox.id)
            .await;
        let mut counted = counted.ok()?;
        match self.group() {
            Some(group) => counted.groups.remove(&group),
            None => Some(counted.sandbox),
        }
    }

    /// Moves the memory of a frozen sandbox to swap, where the host has any. Not that of a seat among
    /// others, whose memory is theirs too.
    pub async fn reclaim(&self) {
        if !self.frozen || self.place.user.is_some() {
            return;
        }
        match self
            .chair
            .sandbox
            .provider
            .reclaim(&self.chair.sandbox.id)
            .await
        {
            Ok(reclaimed) => {
                tracing::debug!(sandbox.id = %self.chair.sandbox.id, "reclaimed of sandbox {}: {reclaimed:?}", self.chair.sandbox.id);
            }
            Err(error) => {
                tracing::debug!(sandbox.id = %self.chair.sandbox.id, error = &error as &dyn std::error::Error, "sandbox {} keeps its memory", self.chair.sandbox.id);
            }
        }
    }

    /// Lets everything go on.
    pub async fn thaw(&mut self) {
        if !std::mem::take(&mut self.frozen) {
            return;
        }
        let group = self.group();
        let provider = &self.chair.sandbox.provider;
        if let Err(error) = provider
            .thaw(&self.chair.sandbox.id, group.as_deref())
            .await
        {
            // Whatever waits for an answer from inside times out and says so.
            tracing::error!(sandbox.id = %self.chair.sandbox.id, error = &error as &dyn std::error::Error, "cannot thaw sandbox {}", self.chair.sandbox.id);
        }
    }
}

/// The name of the control group of a seat among others.
pub(super) fn group(seat: u32) -> String {
    format!("seat-{seat}")
}

/// Listens for the seat's own user, where there are others.
async fn listen(
    guest: &Guest,
    place: &Place,
    port: u16,
    tag: &str,
) -> Result<Listening, LinkError> {
    match &place.user {
        Some(user) => guest.listen_for(user, port, tag).await,
        None => guest.listen(port, tag).await,
    }
}
