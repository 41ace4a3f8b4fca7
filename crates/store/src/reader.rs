//! A few threads that read, each with a connection of its own, all fed by one queue. A read sees
//! every commit that was answered before it was asked. Never writes: the connections are read-only.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use rusqlite::Connection;

use crate::queue::Queue;

/// Threads. Reads are short and mostly in memory; more threads than cores only cost page caches.
pub(crate) const THREADS: usize = 4;

/// Reads that may wait; beyond it callers wait in [`Queue::push`].
pub(crate) const PLACES: usize = 1024;

/// Deep enough for the engine's parser; only touched pages count as memory.
const STACK: usize = 512 * 1024;

/// A read with its reply inside.
pub(crate) type Read = Box<dyn FnOnce(&Connection) + Send>;

/// Starts one thread. It ends when the queue is closed and empty.
pub(crate) fn start(
    number: usize,
    connection: Connection,
    queue: Arc<Queue<Read>>,
) -> std::io::Result<JoinHandle<()>> {
    Builder::new()
        .name(format!("store-reader-{number}"))
        .stack_size(STACK)
        .spawn(move || {
            while let Some(read) = queue.take() {
                // A panic drops the reply, so the caller hears that the store failed; the thread goes on.
                if catch_unwind(AssertUnwindSafe(|| read(&connection))).is_err() {
                    tracing::error!("a read panicked");
                }
            }
        })
}
