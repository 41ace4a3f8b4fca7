//! Opening connections and bringing the schema up to date. A migration is a numbered SQL file in
//! `migrations/`; the file's number is the database's `user_version` afterwards. Never runs a
//! migration twice, backwards, or on a database that a newer program has written.
//!
//! To change the schema: add the next numbered file, add it to [`MIGRATIONS`], never edit an old one.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::OpenError;

/// In order; the first brings an empty file to schema 1.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_initial.sql"),
    include_str!("../migrations/0002_hosting.sql"),
    include_str!("../migrations/0003_common.sql"),
    include_str!("../migrations/0004_searches.sql"),
    include_str!("../migrations/0005_tenants.sql"),
    include_str!("../migrations/0006_audit.sql"),
    include_str!("../migrations/0007_vaults.sql"),
    include_str!("../migrations/0008_session_store.sql"),
];

/// Marks a file as ours in its header ("host" in ASCII).
const APPLICATION: i32 = 0x686f_7374;

/// Another connection of ours can hold the file only for moments (recovery, closing).
const PATIENCE: Duration = Duration::from_secs(5);

/// Every statement text of the crate is constant, so all of them stay prepared.
const STATEMENTS: usize = 128;

/// Pages in the log at which the writer folds it into the database inside a commit. Never reached
/// while `checkpoint` does its work.
const LOG_PAGES: i64 = 8000;

/// The log's room on disk, about two thousand pages with their headers.
const LOG_BYTES: u64 = 8 << 20;

/// What the writer keeps of the database in memory, in KiB (negative, as the engine wants it), and
/// twice what a reader does. Little: the kernel has the file's pages anyway, once for all of them,
/// and what is full soon does not look like a leak.
const CACHE: i64 = -512;

/// Opens the connection that writes, and migrates.
pub(crate) fn open_writer(file: &Path) -> Result<Connection, OpenError> {
    let mut connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    check(&connection, file)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // In WAL mode FULL syncs the log at every commit: an answered commit survives a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", CACHE)?;
    // A log that a burst made large is cut back when it is next reset.
    connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    migrate(&mut connection)?;
    reserve_log(&file.with_extension("db-wal"));
    Ok(connection)
}

/// Opens the connection that folds the log into the database.
pub(crate) fn open_checkpointer(file: &Path) -> Result<Connection, OpenError> {
    let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -64)?;
    Ok(connection)
}

/// Writes zeros behind the log's end. A sync after an overwrite takes a fraction of a sync after a
/// file has grown, because the file system has nothing of its own to record. The engine ends its log
/// at the first frame without a valid checksum, so zeros mean nothing to it; it must only not write
/// meanwhile, and it does not: the directory is locked and no thread has been started.
fn reserve_log(log: &Path) {
    let reserve = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(log)?;
        let end = file.seek(SeekFrom::End(0))?;
        let filled = fill(&mut file, LOG_BYTES.saturating_sub(end));
        if filled.is_err() {
            file.set_len(end)?;
        }
        filled
    };
    if let Err(error) = reserve() {
        tracing::warn!(
            "cannot reserve room for the database's log, commits will be slower: {error}"
        );
    }
}

fn fill(file: &mut File, mut missing: u64) -> std::io::Result<()> {
    let zeros = vec![0; 256 * 1024];
    while missing > 0 {
        let step = missing.min(zeros.len() as u64);
        file.write_all(&zeros[..step as usize])?;
        missing -= step;
    }
    file.sync_all()
}

/// Opens a connection that reads. The writer must have been opened before.
pub(crate) fn open_reader(file: &Path) -> Result<Connection, OpenError> {
    let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.pragma_update(None, "cache_size", CACHE / 2)?;
    Ok(connection)
}

fn connect(file: &Path, mode: OpenFlags) -> Result<Connection, rusqlite::Error> {
    // Each connection stays on one thread, so the engine's own lock is needless.
    let connection = Connection::open_with_flags(file, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

fn check(connection: &Connection, file: &Path) -> Result<(), OpenError> {
    let application: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let found = version(connection)?;
    let known = MIGRATIONS.len() as u32;
    let objects: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION && (application != 0 || objects != 0) {
        return Err(OpenError::Foreign {
            path: file.to_owned(),
        });
    }
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    Ok(())
}

fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let found = version(connection)? as usize;
    for (index, script) in MIGRATIONS.iter().enumerate().skip(found) {
        let to = index as u32 + 1;
        step(connection, script, to).map_err(|source| OpenError::Migrate { to, source })?;
    }
    Ok(())
}

fn step(connection: &mut Connection, script: &str, to: u32) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    transaction.execute_batch(script)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", to)?;
    transaction.commit()
}

fn version(connection: &Connection) -> Result<u32, rusqlite::Error> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_syncs_every_commit() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hostel.db");
        std::fs::File::create(&file).unwrap();
        let connection = open_writer(&file).unwrap();
        let mode: String = connection
            .pragma_query_value(None, "journal_mode", |r| r.get(0))
            .unwrap();
        let sync: i64 = connection
            .pragma_query_value(None, "synchronous", |r| r.get(0))
            .unwrap();
        let keys: bool = connection
            .pragma_query_value(None, "foreign_keys", |r| r.get(0))
            .unwrap();
        assert_eq!((mode.as_str(), sync, keys), ("wal", 2, true));
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert!(step(&mut connection, "CREATE TABLE a (b) ; nonsense", 1).is_err());
        assert_eq!(version(&connection).unwrap(), 0);
        assert_eq!(
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r
                .get::<_, i64>(0)),
            Ok(0)
        );
    }
}
