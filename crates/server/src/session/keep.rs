//! What outlives a sandbox: snapshots of a session's files, and its results.
//!
//! A snapshot's content is durable before its row is written, and its row is removed before its content.
//! The same holds for results. Whatever lies on disk without a row is nobody's.

mod outputs;

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use snapshot::{Early, SaveError, SnapshotId, Snapshots};
use store::{FileRow, NewSnapshot, SessionRow, SnapshotRow, Store};
use tokio::sync::{Mutex, oneshot};
use tokio_util::io::SyncIoBridge;

use super::Inner;
use super::fleet::Seat;
use super::runner::with_causes;
use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::ids::Ids;
pub use outputs::Output;
pub(super) use outputs::unpack;

/// Snapshots of a session that are kept; when there are twice as many, the older half goes. Enough to
/// fork from any of the last turns.
const SNAPSHOTS: usize = 16;

/// Where snapshots and results lie.
#[derive(Clone)]
pub struct Keeper {
    snapshots: Snapshots,
    store: Arc<Store>,
    blobs: Blobs,
    clock: Clock,
    ids: Ids,
}

/// The same for one session and one of its seats.
pub struct Keeping {
    keeper: Keeper,
    session: String,
    environment: String,
    /// The snapshot that the seat's files came from or went to last, and when.
    last: Mutex<Option<(SnapshotId, i64)>>,
}

/// A snapshot that is durable.
#[derive(Debug, Clone)]
pub struct Kept {
    id: SnapshotId,
    files: u64,
    bytes: u64,
    written: u64,
    /// Whether it differs from the one before.
    changed: bool,
}

impl Kept {
    /// Its row; `None` when nothing has changed since the last one.
    #[must_use]
    pub fn row(&self, now: DateTime<Utc>) -> Option<NewSnapshot> {
        self.changed.then(|| NewSnapshot {
            id: self.id.to_string(),
            created_at: now,
            files: self.files,
            bytes: self.bytes,
            written: self.written,
        })
    }
}

impl Keeper {
    /// Snapshots in `snapshots`, results in `blobs`, and the names of both in `store`.
    #[must_use]
    pub fn new(
        snapshots: Snapshots,
        store: Arc<Store>,
        blobs: Blobs,
        clock: Clock,
        ids: Ids,
    ) -> Keeper {
        Keeper {
            snapshots,
            store,
            blobs,
            clock,
            ids,
        }
    }

    /// The snapshots of all sessions.
    #[must_use]
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// The content of all results.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// For a session that gets a seat.
    #[must_use]
    pub fn of(&self, session: &str, environment: &str) -> Keeping {
        Keeping {
            keeper: self.clone(),
            session: session.to_owned(),
            environment: environment.to_owned(),
            last: Mutex::new(None),
        }
    }

    /// Forgets old snapshots. For the session's owner between two saves: a save that ends in between
    /// would be collected before its row is written.
    pub(super) async fn tidy(&self, inner: &Inner, session: &str) {
        let rows = match inner.store.snapshots().list(session).await {
            // Not at each save: to collect costs as much as several of them.
            Ok(rows) if rows.len() > 2 * SNAPSHOTS => rows,
            _ => return,
        };
        let (old, kept) = rows.split_at(rows.len() - SNAPSHOTS);
        let id = |row: &SnapshotRow| row.snapshot.id.clone();
        let kept: HashSet<String> = kept.iter().map(id).collect();
        let old = old.iter().map(id).filter(|id| !kept.contains(id)).collect();
        if let Err(error) = inner.retention.drop_snapshots(session, &old).await {
            tracing::warn!(
                session.id = session,
                error = &error as &dyn std::error::Error,
                "cannot forget old snapshots of session {session}"
            );
        }
    }

    /// Makes results files of the session. One that is as the turn before left it is a file already.
    ///
    /// # Errors
    /// In one sentence, when the store fails.
    pub(super) async fn publish(
        &self,
        inner: &Inner,
        row: &SessionRow,
        outputs: Vec<Output>,
    ) -> Result<(), String> {
        for output in outputs {
            let id = output.id.clone();
            let mime = mime_guess::from_path(&output.filename).first_or_octet_stream();
            let file = FileRow {
                id: output.id,
                workspace_id: row.workspace_id.clone(),
                session_id: Some(row.id.clone()),
                filename: output.filename,
                mime_type: mime.to_string(),
                size_bytes: output.size_bytes,
                sha256: output.sha256,
                created_at: inner.clock.now(),
                downloadable: true,
            };
            let inserted = inner.store.files().insert(file).await;
            let is_new = inserted.map_err(|error| with_causes(&error))?;
            if !is_new && let Err(error) = self.blobs.remove(&id).await {
                // Nobody's content is found and removed later.
                tracing::warn!("cannot remove the second content of a result: {error}");
            }
        }
        Ok(())
    }
}

impl Keeping {
    /// Keeps what is in a seat.
    ///
    /// # Errors
    /// In one sentence; nothing has changed then.
    pub async fn save(&self, seat: &Seat) -> Result<Kept, String> {
        self.save_common(seat).await;
        let mut last = self.last.lock().await;
        let mut from = *last;
        let saved = loop {
            let (parent, since) = match &from {
                Some((id, since)) => (Some(id), *since),
                None => (None, 0),
            };
            let tree = seat.save(since).await;
            let tree = tree.map_err(|error| with_causes(&error))?;
            let snapshots = &self.keeper.snapshots;
            match snapshots
                .save(&self.session, parent, seat.most_content(), tree)
                .await
            {
                Ok(saved) => break saved,
                Err(SaveError::NeedFull { .. }) if from.is_some() => from = None,
                Err(error) => return Err(with_causes(&error)),
            }
        };
        let changed = last.as_ref().is_none_or(|(id, _)| *id != saved.id);
        *last = Some((saved.id, saved.since_ns));
        Ok(Kept {
            id: saved.id,
            files: saved.files,
            bytes: saved.bytes,
            written: saved.written,
            changed,
        })
    }

    /// Brings a snapshot back into a seat. `early` rings when all is there that a starting claude
    /// looks at.
    ///
    /// # Errors
    /// In one sentence; some of it may be there then.
    pub async fn restore(
        &self,
        seat: &Seat,
        id: &SnapshotId,
        early: oneshot::Sender<()>,
    ) -> Result<(), String> {
        let tree = seat.restore().await.map_err(|error| with_causes(&error))?;
        let early = Early {
            up_to: seat.place().looked_at_first().into(),
            made: early,
        };
        let snapshots = &self.keeper.snapshots;
        let restored = snapshots.restore(&self.session, id, Some(early), tree);
        let restored = restored.await.map_err(|error| with_causes(&error))?;
        *self.last.lock().await = Some((*id, restored.since_ns));
        Ok(())
    }

    /// Keeps the directory that a seat has in common with others. What fails is tried again with the
    /// next rest of any of them.
    async fn save_common(&self, seat: &Seat) {
        let Some(common) = seat.common() else { return };
        let mut last = common.lock().await;
        let since = last.map_or(0, |(_, since)| since);
        let saved = async {
            let tree = seat.save_common(since).await;
            let tree = tree.map_err(|error| with_causes(&error))?;
            let parent = last.as_ref().map(|(id, _)| id);
            let snapshots = &self.keeper.snapshots;
            let saved = snapshots
                .save(&self.environment, parent, seat.most_content(), tree)
                .await;
            let saved = saved.map_err(|error| with_causes(&error))?;
            if parent == Some(&saved.id) {
                return Ok((saved.id, saved.since_ns));
            }
            let (id, now) = (saved.id.to_string(), self.keeper.clock.now());
            let rows = self.keeper.store.snapshots();
            let kept = rows.keep_common(&self.environment, &id, now).await;
            kept.map_err(|error| with_causes(&error))?;
            // Under the lock, so that nobody's save is collected before it has its row.
            let collected = snapshots.collect(&self.environment, &[saved.id]).await;
            collected.map_err(|error| with_causes(&error))?;
            Ok::<_, String>((saved.id, saved.since_ns))
        };
        match saved.await {
            Ok(saved) => *last = Some(saved),
            Err(why) => {
                tracing::error!(environment.id = %self.environment, "cannot save the common files of environment {}: {why}", self.environment);
                *last = None;
            }
        }
    }

    /// Brings the common directory of a sandbox back, which nobody else sits in yet.
    ///
    /// # Errors
    /// In one sentence.
    pub async fn restore_common(&self, seat: &Seat) -> Result<(), String> {
        let Some(common) = seat.common() else {
            return Ok(());
        };
        let mut last = common.lock().await;
        let id = self
            .keeper
            .store
            .snapshots()
            .common(&self.environment)
            .await;
        let Some(id) = id.map_err(|error| with_causes(&error))? else {
            return Ok(());
        };
        let id: SnapshotId = id.parse().map_err(|_| format!("{id:?} is no snapshot"))?;
        let tree = seat.restore_common().await;
        let tree = tree.map_err(|error| with_causes(&error))?;
        let restored = self
            .keeper
            .snapshots
            .restore(&self.environment, &id, None, tree)
            .await;
        let restored = restored.map_err(|error| with_causes(&error))?;
        *last = Some((id, restored.since_ns));
        Ok(())
    }

    /// Keeps the results that lie in a seat.
    ///
    /// # Errors
    /// In one sentence; nothing is kept then that anybody would find.
    pub async fn outputs(&self, seat: &Seat) -> Result<Vec<Output>, String> {
        let packed = seat.pack_outputs().await;
        let tar = SyncIoBridge::new(packed.map_err(|error| with_causes(&error))?);
        let (blobs, ids) = (self.keeper.blobs.clone(), self.keeper.ids.clone());
        let most = seat.most_content();
        let unpacked = tokio::task::spawn_blocking(move || unpack(tar, &blobs, &ids, most)).await;
        unpacked.map_err(|_| "unpacking failed".to_owned())?
    }
}
