//! The one thread that writes. It drains what is waiting into one transaction, gives each request a
//! savepoint of its own so that one refusal does not undo its neighbours, commits once (one sync of
//! the disk for all), and only then answers. Never answers before the commit is on disk.
//!
//! When a whole transaction is lost (disk full, failed sync), its requests are tried again one by
//! one, so that a request that is too large fails alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::StoreError;
use crate::checkpoint::Bell;
use crate::queue::Queue;

/// Requests that may wait for the writer. At a few thousand requests a second this is well under a
/// second of work; beyond it callers wait in [`Queue::push`].
pub(crate) const PLACES: usize = 1024;

/// Requests in one transaction. More would save few syncs and delay the first answer.
const GROUP: usize = 128;

/// Deep enough for the engine's parser; only touched pages count as memory.
const STACK: usize = 512 * 1024;

/// A request of any type, as the thread sees it.
pub(crate) trait Request: Send {
    /// Does the work inside the open transaction; false when its effects must be undone.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Replaces a success that was not committed.
    fn lose(&mut self, error: StoreError);
    /// Hands the outcome to whoever waits. A caller that has gone away is no error.
    fn answer(self: Box<Self>);
}

/// A closure, what came of it, and who waits for it. The closure may run twice (see the module's
/// head), so it borrows what it was given.
pub(crate) struct Call<T, E, F> {
    work: F,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> Call<T, E, F> {
    pub(crate) fn new(work: F) -> (Call<T, E, F>, oneshot::Receiver<Result<T, E>>) {
        let (reply, answer) = oneshot::channel();
        (
            Call {
                work,
                outcome: None,
                reply,
            },
            answer,
        )
    }
}

impl<T, E, F> Request for Call<T, E, F>
where
    T: Send,
    E: From<StoreError> + Send,
    F: Fn(&Connection) -> Result<T, E> + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        // The transaction is rolled back after a panic, so nothing half done can be seen.
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.work)(connection)));
        let outcome = outcome.unwrap_or_else(|_| Err(E::from(StoreError::Closed)));
        let keep = outcome.is_ok();
        self.outcome = Some(outcome);
        keep
    }

    fn lose(&mut self, error: StoreError) {
        if !matches!(self.outcome, Some(Err(_))) {
            self.outcome = Some(Err(E::from(error)));
        }
    }

    fn answer(self: Box<Self>) {
        if let Some(outcome) = self.outcome {
            let _ = self.reply.send(outcome);
        }
    }
}

/// Starts the thread. It ends when the queue is closed and empty.
pub(crate) fn start(
    connection: Connection,
    queue: Arc<Queue<Box<dyn Request>>>,
    mut bell: Bell,
) -> std::io::Result<JoinHandle<()>> {
    Builder::new()
        .name("store-writer".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let mut group = Vec::new();
            while queue.drain(GROUP, &mut group) {
                settle(&connection, &mut group);
                for request in group.drain(..) {
                    request.answer();
                }
                bell.count(&connection);
            }
        })
}

/// Gives every request of the group its final outcome.
fn settle(connection: &Connection, group: &mut [Box<dyn Request>]) {
    let Err(error) = commit(connection, group) else {
        return;
    };
    roll_back(connection);
    if let [only] = group {
        only.lose(error);
        return;
    }
    tracing::warn!(
        requests = group.len(),
        "lost a transaction and try its requests one by one: {error}"
    );
    for request in group {
        settle(connection, std::slice::from_mut(request));
    }
}

/// One transaction. An error means that nothing of the group was kept.
fn commit(connection: &Connection, group: &mut [Box<dyn Request>]) -> Result<(), StoreError> {
    execute(connection, "BEGIN IMMEDIATE")?;
    for request in group {
        execute(connection, "SAVEPOINT request")?;
        if !request.run(connection) {
            // A full disk can make the engine undo the whole transaction by itself.
            if connection.is_autocommit() {
                return Err(StoreError::Full(rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
                    None,
                )));
            }
            execute(connection, "ROLLBACK TO request")?;
        }
        execute(connection, "RELEASE request")?;
    }
    execute(connection, "COMMIT")
}

fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = execute(connection, "ROLLBACK")
    {
        tracing::error!("cannot roll back a lost transaction: {error}");
    }
}

fn execute(connection: &Connection, statement: &str) -> Result<(), StoreError> {
    connection.prepare_cached(statement)?.execute([])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(size: usize) -> (Box<dyn Request>, oneshot::Receiver<Result<(), StoreError>>) {
        let (call, answer) = Call::new(move |connection: &Connection| {
            connection.execute("INSERT INTO t VALUES (zeroblob(?1))", [size as i64])?;
            Ok(())
        });
        (Box::new(call), answer)
    }

    #[test]
    fn a_request_too_large_for_the_disk_fails_alone() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE t (b); PRAGMA max_page_count = 16")
            .unwrap();
        let (small, mut first) = insert(10);
        let (huge, mut second) = insert(1_000_000);
        let (tiny, mut third) = insert(10);
        let mut group = vec![small, huge, tiny];
        settle(&connection, &mut group);
        group.into_iter().for_each(Request::answer);
        assert!(first.try_recv().unwrap().is_ok());
        assert!(matches!(
            second.try_recv().unwrap(),
            Err(StoreError::Full(_))
        ));
        assert!(third.try_recv().unwrap().is_ok());
        assert_eq!(
            connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)),
            Ok(2)
        );
    }

    #[test]
    fn a_transaction_that_cannot_commit_fails_every_success_in_it() {
        let connection = Connection::open_in_memory().unwrap();
        let schema = "PRAGMA foreign_keys = ON; CREATE TABLE p (id INTEGER PRIMARY KEY);
            CREATE TABLE t (b REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED)";
        connection.execute_batch(schema).unwrap();
        let (call, mut answer) = Call::new(|connection: &Connection| {
            connection.execute("INSERT INTO t VALUES (7)", [])?;
            Ok::<_, StoreError>(())
        });
        let mut group: Vec<Box<dyn Request>> = vec![Box::new(call)];
        settle(&connection, &mut group);
        group.into_iter().for_each(Request::answer);
        assert!(answer.try_recv().unwrap().is_err());
        assert!(connection.is_autocommit(), "a transaction was left open");
    }

    #[test]
    fn a_panic_undoes_its_request_and_spares_the_others() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (b)").unwrap();
        let (call, mut answer) = Call::<(), StoreError, _>::new(|connection: &Connection| {
            connection.execute("INSERT INTO t VALUES (1)", [])?;
            panic!("a bug");
        });
        let (good, mut other) = insert(1);
        let mut group: Vec<Box<dyn Request>> = vec![Box::new(call), good];
        settle(&connection, &mut group);
        group.into_iter().for_each(Request::answer);
        assert!(matches!(
            answer.try_recv().unwrap(),
            Err(StoreError::Closed)
        ));
        assert!(other.try_recv().unwrap().is_ok());
        assert_eq!(
            connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)),
            Ok(1)
        );
    }
}
