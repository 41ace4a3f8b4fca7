//! Folds the engine's log into the database on a thread of its own, so that commits do not wait for
//! it. Never blocks readers or the writer: it leaves what is committed meanwhile. The engine begins
//! its log anew only at a moment when nothing is left over, so when the log has become long, the
//! thread asks the writer to fold in that small rest between two groups.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use rusqlite::Connection;

/// Commits between two rings. A commit adds about four pages to the log, and each ring costs two
/// syncs.
const COMMITS: u32 = 256;

/// Pages in the log from which it is to begin anew. The room reserved on disk is twice as large.
const LONG: i64 = 1000;

/// Deep enough for the engine; only touched pages count as memory.
const STACK: usize = 256 * 1024;

/// The writer's end: counts commits, and hears when the rest of the log is to be folded in.
pub(crate) struct Bell {
    since: u32,
    ring: SyncSender<()>,
    rest: Arc<AtomicBool>,
}

/// The thread's end.
pub(crate) struct Rings {
    rings: Receiver<()>,
    rest: Arc<AtomicBool>,
}

/// Both ends. One ring waits at most: a second would ask for the same work.
pub(crate) fn bell() -> (Bell, Rings) {
    let (ring, rings) = sync_channel(1);
    let rest = Arc::new(AtomicBool::new(false));
    (
        Bell {
            since: 0,
            ring,
            rest: Arc::clone(&rest),
        },
        Rings { rings, rest },
    )
}

impl Bell {
    /// Counts one commit; after it has been answered.
    pub(crate) fn count(&mut self, connection: &Connection) {
        self.since += 1;
        if self.since >= COMMITS {
            self.since = 0;
            // Full means that the thread is about to look anyway; if the thread has died, the engine
            // folds by itself when the log is very long.
            let _ = self.ring.try_send(());
        }
        if self.rest.swap(false, Ordering::Relaxed) {
            fold(connection);
        }
    }
}

/// Starts the thread. It ends when the bell is dropped.
pub(crate) fn start(connection: Connection, rings: Rings) -> std::io::Result<JoinHandle<()>> {
    Builder::new()
        .name("store-log".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            while rings.rings.recv().is_ok() {
                if fold(&connection) >= LONG {
                    rings.rest.store(true, Ordering::Relaxed);
                }
            }
        })
}

/// Folds what can be folded without waiting for anyone; the pages in the log.
fn fold(connection: &Connection) -> i64 {
    connection
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get("log"))
        .inspect_err(|error| {
            tracing::warn!("cannot fold the log into the database, will try again: {error}");
        })
        .unwrap_or(0)
}
