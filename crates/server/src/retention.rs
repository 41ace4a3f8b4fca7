//! Removes what has outlived its time, and content that nobody's row names.
//!
//! How long ended sessions, snapshots and files are kept is a property of their environment. Rows go
//! before content: a crash in between leaves content without a row, which is nobody's and is removed
//! by a later round; never a row without its content. A round is safe to repeat and to cut off.
//!
//! Never removes what could be somebody's: of a session that has an actor no snapshot, because one
//! may be saved and not have its row yet; no line that a fork is about to give to its session; no
//! file that is younger than the time within which files get their rows.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use snapshot::{CollectError, SnapshotId, Snapshots};
use store::{Realm, Store, StoreError};

use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::session::Sessions;

/// Rows that are looked at together.
const BATCH: usize = 500;
/// Rounds between two searches for content that is nobody's, which look at every name on disk: at one
/// round in half a minute once in an hour.
const SEARCH_EVERY: u64 = 120;
/// Results of a task get their rows when all of them are on disk. A day is far beyond that.
const GRACE: Duration = Duration::from_secs(24 * 3600);

/// What is kept of sessions besides their rows, and for how long.
pub struct Retention {
    store: Arc<Store>,
    snapshots: Snapshots,
    blobs: Blobs,
    clock: Clock,
    /// What lies there without a row since before this was left by an earlier server.
    started: SystemTime,
    /// Lines that are made for sessions that do not exist yet.
    forking: Mutex<HashSet<String>>,
}

/// Why a round ended early. The next one goes on.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("the list of snapshots cannot be read")]
    Lines(#[source] snapshot::StoreError),
    #[error("the directory {} cannot be read", .0.display())]
    Files(std::path::PathBuf, #[source] io::Error),
}

/// A line that the sweep leaves alone while this lives.
pub struct Held<'a>(&'a Retention, String);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

impl Retention {
    /// For the sessions of one store, whose snapshots and files lie here.
    #[must_use]
    pub fn new(store: Arc<Store>, snapshots: Snapshots, blobs: Blobs, clock: Clock) -> Retention {
        Retention {
            store,
            snapshots,
            blobs,
            clock,
            started: SystemTime::now(),
            forking: Mutex::default(),
        }
    }

    /// Keeps a line whose session does not exist yet.
    pub fn hold(&self, line: &str) -> Held<'_> {
        self.lock().insert(line.to_owned());
        Held(self, line.to_owned())
    }

    /// Deletes a session with all that belongs to it; it must have no actor any more.
    ///
    /// # Errors
    /// When the rows cannot be deleted; nothing is gone then.
    pub async fn remove_session(&self, realm: &Realm, id: &str) -> Result<(), StoreError> {
        let files = self.store.files().of_session(id).await?;
        self.store.sessions().delete(realm, id).await?;
        for file in files {
            self.remove_blob(&file).await;
        }
        self.remove_line(id).await;
        Ok(())
    }

    /// Removes all snapshots of a session that does not exist.
    pub async fn remove_line(&self, line: &str) {
        if let Err(error) = self.snapshots.remove_line(line).await {
            tracing::warn!(
                session.id = line,
                error = &error as &dyn std::error::Error,
                "cannot remove the snapshots of session {line} now"
            );
        }
    }

    /// One round: what has expired, and from time to time, beginning with the first, what is nobody's.
    pub async fn sweep(&self, sessions: &Sessions, round: u64) {
        let swept = async {
            self.sweep_sessions(sessions).await?;
            self.sweep_snapshots(sessions).await?;
            self.sweep_files().await?;
            self.sweep_audit(sessions).await?;
            if round.is_multiple_of(SEARCH_EVERY) {
                self.search_lines().await?;
                self.search_blobs().await?;
            }
            Ok::<_, SweepError>(())
        };
        if let Err(error) = swept.await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot remove what has outlived its time; it is tried again"
            );
        }
    }

    async fn sweep_sessions(&self, sessions: &Sessions) -> Result<(), SweepError> {
        let now = self.clock.now();
        for (realm, id) in self.store.sessions().expired(now, BATCH).await? {
            match sessions.delete(&realm, &id).await {
                Ok(()) => tracing::info!(
                    session.id = id,
                    "session {id} was kept as long as its environment says and is deleted"
                ),
                Err(error) => tracing::warn!(
                    session.id = id,
                    error = &error as &dyn std::error::Error,
                    "cannot delete session {id}, which has outlived its time"
                ),
            }
        }
        Ok(())
    }

    async fn sweep_snapshots(&self, sessions: &Sessions) -> Result<(), SweepError> {
        let (now, mut after) = (self.clock.now(), 0);
        loop {
            let rows = self.store.snapshots().expired(now, after, BATCH).await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = last.number;
            let mut expired: BTreeMap<String, HashSet<String>> = BTreeMap::new();
            for row in rows {
                let of = expired.entry(row.session_id).or_default();
                of.insert(row.snapshot.id);
            }
            for (session, ids) in expired {
                if !sessions.is_live(&session) {
                    self.drop_snapshots(&session, &ids).await?;
                }
            }
        }
    }

    /// Forgets some snapshots of a session and collects their content. Nobody may save the session
    /// meanwhile: what has no row yet would be collected, too.
    ///
    /// # Errors
    /// When the rows cannot be read or removed.
    pub async fn drop_snapshots(
        &self,
        session: &str,
        ids: &HashSet<String>,
    ) -> Result<(), StoreError> {
        let rows = self.store.snapshots().list(session).await?;
        let keep: Vec<String> = rows
            .into_iter()
            .map(|row| row.snapshot.id)
            .filter(|id| !ids.contains(id))
            .collect();
        let live: Vec<SnapshotId> = keep.iter().filter_map(|id| id.parse().ok()).collect();
        if live.len() < keep.len() {
            tracing::error!(
                session.id = session,
                "a snapshot of session {session} has a malformed id; none of them is removed"
            );
            return Ok(());
        }
        self.store.snapshots().prune(session, keep).await?;
        match self.snapshots.collect(session, &live).await {
            Ok(_) | Err(CollectError::Busy) => {}
            Err(error) => tracing::warn!(
                session.id = session,
                error = &error as &dyn std::error::Error,
                "cannot collect old snapshots of session {session}"
            ),
        }
        Ok(())
    }

    async fn sweep_audit(&self, sessions: &Sessions) -> Result<(), SweepError> {
        let before = self.clock.now() - sessions.keep_audit();
        while self.store.audit().expire(before, BATCH).await? == BATCH {}
        Ok(())
    }

    async fn sweep_files(&self) -> Result<(), SweepError> {
        let files = self.store.files();
        for row in files.expired(self.clock.now(), BATCH).await? {
            files.delete(&Realm::of(row.workspace_id), &row.id).await?;
            self.remove_blob(&row.id).await;
        }
        Ok(())
    }

    /// Removes lines whose session does not exist.
    async fn search_lines(&self) -> Result<(), SweepError> {
        let lines = self.snapshots.lines().await.map_err(SweepError::Lines)?;
        // In this order: a line that is not held any more by now has a session that is found below.
        let held = self.lock().clone();
        let lines: Vec<String> = lines
            .into_iter()
            .filter(|line| !held.contains(line))
            .collect();
        for some in lines.chunks(BATCH) {
            for line in self.store.sessions().absent(some.to_vec()).await? {
                self.remove_line(&line).await;
            }
        }
        Ok(())
    }

    /// Removes the content of files that do not exist.
    async fn search_blobs(&self) -> Result<(), SweepError> {
        let (dir, started) = (self.blobs.dir().to_owned(), self.started);
        let listed = tokio::task::spawn_blocking(move || {
            let names = old_names(&dir, started);
            names.map_err(|error| SweepError::Files(dir, error))
        });
        let names = listed.await.unwrap_or(Ok(Vec::new()))?;
        for some in names.chunks(BATCH) {
            for name in self.store.files().absent(some.to_vec()).await? {
                self.remove_blob(&name).await;
            }
        }
        Ok(())
    }

    async fn remove_blob(&self, id: &str) {
        if let Err(error) = self.blobs.remove(id).await {
            tracing::warn!(
                file.id = id,
                error = &error as &dyn std::error::Error,
                "cannot remove the content of file {id} now"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.forking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names of files that were written by an earlier server or long ago.
fn old_names(dir: &Path, started: SystemTime) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let old = |written: SystemTime| {
        written < started
            || SystemTime::now()
                .duration_since(written)
                .is_ok_and(|age| age > GRACE)
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let written = entry.metadata().and_then(|found| found.modified());
        if written.is_ok_and(old)
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    Ok(names)
}
