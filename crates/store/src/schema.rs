//! Opening connections and bringing the schema up to date. A migration is a numbered SQL file in
//! `migrations/`; the file's number is the database's `user_version` afterwards. Never runs a
//! migration twice, backwards, or on a database that a newer program has written.
//!
//! To change the schema: add the next numbered file, add it to [`MIGRATIONS`], never edit an old one.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::OpenError;

/// In order; the first brings an empty file to schema 1.
const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001_initial.sql")];

/// Marks a file as ours in its header ("host" in ASCII).
const APPLICATION: i32 = 0x686f_7374;

/// Another connection of ours can hold the file only for moments (recovery, closing).
const PATIENCE: Duration = Duration::from_secs(5);

/// Every statement text of the crate is constant, so all of them stay prepared.
const STATEMENTS: usize = 96;

/// Opens the connection that writes, and migrates.
pub(crate) fn open_writer(file: &Path) -> Result<Connection, OpenError> {
    let mut connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    check(&connection, file)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // In WAL mode FULL syncs the log at every commit: an answered commit survives a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -2048)?;
    // A log that a burst made large is cut back when it is next reset.
    connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// Opens a connection that reads. The writer must have been opened before.
pub(crate) fn open_reader(file: &Path) -> Result<Connection, OpenError> {
    let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.pragma_update(None, "cache_size", -512)?;
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
