//! Folds the engine's log into the database on a thread of its own, so that commits do not wait for
//! it. Never blocks readers or the writer: it does what it can and leaves the rest for the next time.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use rusqlite::Connection;

/// Commits between two rings. A commit adds about four pages to the log, so that little is left to do
/// when the writer must begin the log anew.
const COMMITS: u32 = 64;

/// Deep enough for the engine; only touched pages count as memory.
const STACK: usize = 256 * 1024;

/// Counts commits and wakes the thread now and then.
pub(crate) struct Bell {
    since: u32,
    ring: SyncSender<()>,
}

impl Bell {
    /// A bell and its other end. One ring waits at most: a second would ask for the same work.
    pub(crate) fn new() -> (Bell, Receiver<()>) {
        let (ring, rings) = sync_channel(1);
        (Bell { since: 0, ring }, rings)
    }

    /// Counts one commit.
    pub(crate) fn count(&mut self) {
        self.since += 1;
        if self.since >= COMMITS {
            self.since = 0;
            // Full means that the thread is about to look anyway; a thread that has died leaves the
            // work to the writer's own connection.
            let _ = self.ring.try_send(());
        }
    }
}

/// Starts the thread. It ends when the bell is dropped.
pub(crate) fn start(
    connection: Connection,
    rings: Receiver<()>,
) -> std::io::Result<JoinHandle<()>> {
    Builder::new()
        .name("store-log".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            while rings.recv().is_ok() {
                let done = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
                if let Err(error) = done {
                    tracing::warn!(
                        "cannot fold the log into the database, will try again: {error}"
                    );
                }
            }
        })
}
