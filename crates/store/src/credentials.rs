//! Credentials of vaults: what is public of each as text, what is secret as bytes that were sealed
//! before they came. Also the placeholders that sessions see in their place.
//!
//! Never opens or interprets what is sealed, and has no key. Methods without a realm serve the sessions
//! that were given a vault, and whoever seals anew.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use crate::cursor::List;
use crate::error::{from_engine, is_duplicate};
use crate::page::Dated;
use crate::time::Micros;
use crate::{ListError, Order, Page, PageQuery, Realm, Store, StoreError, TimeRange, vaults};

/// One credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRow {
    /// Its id.
    pub id: String,
    /// The vault that it is in; must exist.
    pub vault_id: String,
    /// The workspace of the vault.
    pub workspace_id: String,
    /// Grows with every change, from 1. Not part of the API.
    pub revision: u32,
    /// What no two active credentials of a vault have in common.
    pub binding: String,
    /// A name for people.
    pub display_name: Option<String>,
    /// The caller's own pairs, as JSON text.
    pub metadata: String,
    /// What it is for, as JSON text.
    pub auth: String,
    /// What is secret; `None` once it is archived.
    pub sealed: Option<Sealed>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// When it was archived, if it was.
    pub archived_at: Option<DateTime<Utc>>,
}

/// Something secret that was sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The name of the key.
    pub key_id: String,
    /// The sealed bytes.
    pub bytes: Vec<u8>,
}

/// What [`Credentials::list`] shows, newest first.
#[derive(Clone, Debug, Default)]
pub struct CredentialQuery {
    /// Whether archived ones are shown, too.
    pub include_archived: bool,
    /// Which page.
    pub page: PageQuery,
}

/// Why a credential could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateCredentialError {
    /// No such vault in the realm.
    #[error("the vault does not exist")]
    NotFound,
    /// Archived vaults take no credentials.
    #[error("the vault is archived")]
    Archived,
    /// The vault has as many active ones as it may have.
    #[error("the vault has {limit} credentials, and may have no more")]
    TooMany {
        /// How many it may have.
        limit: usize,
    },
    /// An active credential of the vault is for the same.
    #[error("the vault has a credential for this already")]
    Duplicate,
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for CreateCredentialError {
    fn from(error: rusqlite::Error) -> CreateCredentialError {
        match is_duplicate(&error) {
            true => CreateCredentialError::Duplicate,
            false => StoreError::from(error).into(),
        }
    }
}

/// Why a credential could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateCredentialError {
    /// No such credential.
    #[error("the credential does not exist")]
    NotFound,
    /// Archived credentials do not change.
    #[error("the credential is archived")]
    Archived,
    /// Someone else has changed it since the caller read it: read and try again.
    #[error("the credential is at revision {current}")]
    RevisionMismatch {
        /// The revision it has now.
        current: u32,
    },
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
from_engine!(UpdateCredentialError);

const SELECT: &str = "SELECT credentials.number, credentials.id, credentials.vault_id,
    vaults.workspace_id, credentials.revision, credentials.binding, credentials.display_name,
    credentials.metadata, credentials.auth, credentials.key_id, credentials.sealed,
    credentials.created_at, credentials.updated_at, credentials.archived_at
    FROM credentials JOIN vaults ON vaults.id = credentials.vault_id";

/// Operations on credentials; see [`Store::credentials`].
#[derive(Clone, Copy)]
pub struct Credentials<'a>(pub(crate) &'a Store);

impl Credentials<'_> {
    /// Makes a credential, unless its vault has `limit` active ones.
    pub async fn create(
        self,
        realm: &Realm,
        row: CredentialRow,
        limit: usize,
    ) -> Result<(), CreateCredentialError> {
        let realm = realm.clone();
        self.0
            .write(move |connection| {
                let vault = vaults::get(connection, &realm, &row.vault_id)?;
                let vault = vault.ok_or(CreateCredentialError::NotFound)?;
                if vault.archived_at.is_some() {
                    return Err(CreateCredentialError::Archived);
                }
                let active: usize = connection
                    .prepare_cached(
                        "SELECT count(*) FROM credentials WHERE vault_id = ?1 AND archived_at IS NULL",
                    )?
                    .query_row([&row.vault_id], |row| row.get(0))?;
                if active >= limit {
                    return Err(CreateCredentialError::TooMany { limit });
                }
                Ok(insert(connection, &row)?)
            })
            .await
    }

    /// One credential of a vault.
    pub async fn get(
        self,
        realm: &Realm,
        vault: &str,
        id: &str,
    ) -> Result<Option<CredentialRow>, StoreError> {
        let (realm, vault, id) = (realm.clone(), vault.to_owned(), id.to_owned());
        self.0
            .read(move |connection| Ok(get(connection, &realm, &vault, &id)?))
            .await
    }

    /// A vault's credentials, newest first; `None` when there is no such vault.
    pub async fn list(
        self,
        realm: &Realm,
        vault: &str,
        query: CredentialQuery,
    ) -> Result<Option<Page<CredentialRow>>, ListError> {
        let (realm, vault) = (realm.clone(), vault.to_owned());
        self.0
            .read(move |connection| {
                if vaults::get(connection, &realm, &vault)?.is_none() {
                    return Ok(None);
                }
                let dated = Dated {
                    list: List::Credentials,
                    order: Order::Desc,
                    select: SELECT,
                    base: "credentials",
                    condition: "credentials.vault_id = :vault
                        AND (:archived OR credentials.archived_at IS NULL)",
                    values: named_params! {
                        ":vault": vault,
                        ":archived": query.include_archived,
                    },
                    created: TimeRange::default(),
                };
                dated.page(connection, &query.page, parse).map(Some)
            })
            .await
    }

    /// One credential that is active, whatever its vault.
    pub async fn active(self, id: &str) -> Result<Option<CredentialRow>, StoreError> {
        let id = id.to_owned();
        self.0
            .read(move |connection| {
                let sql = format!(
                    "{SELECT} WHERE credentials.id = ?1 AND credentials.archived_at IS NULL"
                );
                let mut statement = connection.prepare_cached(&sql)?;
                Ok(statement.query_row([id], parse).optional()?)
            })
            .await
    }

    /// All active credentials of vaults of a workspace, in the order of the vaults, given as a JSON list,
    /// and of their making.
    pub async fn of_vaults(
        self,
        workspace: &str,
        vaults: &str,
    ) -> Result<Vec<CredentialRow>, StoreError> {
        let (workspace, vaults) = (workspace.to_owned(), vaults.to_owned());
        self.0
            .read(move |connection| {
                let sql = format!(
                    "{SELECT} JOIN json_each(?2) AS given ON given.value = vaults.id
                     WHERE vaults.workspace_id = ?1 AND credentials.archived_at IS NULL
                     ORDER BY given.key, credentials.number"
                );
                let mut statement = connection.prepare_cached(&sql)?;
                let rows = statement.query_map([workspace, vaults], parse)?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Replaces name, metadata, what it is for and its secret, if the revision is still that of `row`.
    pub async fn update(
        self,
        row: CredentialRow,
        at: DateTime<Utc>,
    ) -> Result<CredentialRow, UpdateCredentialError> {
        self.0
            .write(move |connection| {
                let realm = Realm::of(&row.workspace_id);
                let stored = get(connection, &realm, &row.vault_id, &row.id)?;
                let stored = stored.ok_or(UpdateCredentialError::NotFound)?;
                if stored.archived_at.is_some() {
                    return Err(UpdateCredentialError::Archived);
                }
                if stored.revision != row.revision {
                    let current = stored.revision;
                    return Err(UpdateCredentialError::RevisionMismatch { current });
                }
                connection
                    .prepare_cached(
                        "UPDATE credentials SET revision = revision + 1, display_name = ?2,
                             metadata = ?3, auth = ?4, key_id = ?5, sealed = ?6, updated_at = ?7
                         WHERE id = ?1",
                    )?
                    .execute(params![
                        row.id,
                        row.display_name,
                        row.metadata,
                        row.auth,
                        row.sealed.as_ref().map(|sealed| &sealed.key_id),
                        row.sealed.as_ref().map(|sealed| &sealed.bytes),
                        Micros(at),
                    ])?;
                let stored = get(connection, &realm, &row.vault_id, &row.id)?;
                stored.ok_or(UpdateCredentialError::NotFound)
            })
            .await
    }

    /// Archives a credential, whose secret is gone then; an archived one stays as it is. `None` when
    /// there is none.
    pub async fn archive(
        self,
        realm: &Realm,
        vault: &str,
        id: &str,
        at: DateTime<Utc>,
    ) -> Result<Option<CredentialRow>, StoreError> {
        let (realm, vault, id) = (realm.clone(), vault.to_owned(), id.to_owned());
        self.0
            .write(move |connection| {
                if get(connection, &realm, &vault, &id)?.is_none() {
                    return Ok(None);
                }
                connection
                    .prepare_cached(
                        "UPDATE credentials SET archived_at = ?2, updated_at = ?2,
                             revision = revision + 1, key_id = NULL, sealed = NULL
                         WHERE id = ?1 AND archived_at IS NULL",
                    )?
                    .execute(params![id, Micros(at)])?;
                Ok(get(connection, &realm, &vault, &id)?)
            })
            .await
    }

    /// Deletes a credential; whether there was one.
    pub async fn delete(self, realm: &Realm, vault: &str, id: &str) -> Result<bool, StoreError> {
        let (realm, vault, id) = (realm.clone(), vault.to_owned(), id.to_owned());
        self.0
            .write(move |connection| {
                if get(connection, &realm, &vault, &id)?.is_none() {
                    return Ok(false);
                }
                connection
                    .prepare_cached("DELETE FROM credentials WHERE id = ?1")?
                    .execute([&id])?;
                Ok(true)
            })
            .await
    }

    /// Up to `limit` active credentials that are sealed under another key than this, with an id above
    /// `after`, by id.
    pub async fn sealed_otherwise(
        self,
        key_id: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<CredentialRow>, StoreError> {
        let (key_id, after) = (key_id.to_owned(), after.to_owned());
        self.0
            .read(move |connection| {
                let sql = format!(
                    "{SELECT} WHERE credentials.key_id <> ?1 AND credentials.id > ?2
                     AND credentials.archived_at IS NULL ORDER BY credentials.id LIMIT ?3"
                );
                let mut statement = connection.prepare_cached(&sql)?;
                let rows = statement.query_map(params![key_id, after, limit], parse)?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Replaces what is sealed by the same under another key, unless the credential was changed since
    /// it was at `revision`; whether it was replaced. Neither revision nor date change.
    pub async fn reseal(self, id: &str, revision: u32, sealed: Sealed) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.0
            .write(move |connection| {
                let replaced = connection
                    .prepare_cached(
                        "UPDATE credentials SET key_id = ?3, sealed = ?4
                         WHERE id = ?1 AND revision = ?2 AND archived_at IS NULL",
                    )?
                    .execute(params![id, revision, sealed.key_id, sealed.bytes])?;
                Ok(replaced > 0)
            })
            .await
    }

    /// What a session sees in place of credentials, as pairs of a credential's id and a text: the text that
    /// was given first stays.
    pub async fn placeholders(
        self,
        session: &str,
        fresh: Vec<(String, String)>,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let session = session.to_owned();
        self.0
            .write(move |connection| {
                let mut insert = connection.prepare_cached(
                    "INSERT INTO placeholders (session_id, credential_id, text) VALUES (?1, ?2, ?3)
                     ON CONFLICT (session_id, credential_id) DO NOTHING",
                )?;
                for (credential, text) in &fresh {
                    insert.execute(params![session, credential, text])?;
                }
                let mut select = connection.prepare_cached(
                    "SELECT credential_id, text FROM placeholders WHERE session_id = ?1",
                )?;
                let rows = select.query_map([&session], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }
}

fn insert(connection: &Connection, row: &CredentialRow) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO credentials (id, vault_id, revision, binding, display_name, metadata, auth,
                 key_id, sealed, created_at, updated_at)
             VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)",
        )?
        .execute(params![
            row.id,
            row.vault_id,
            row.binding,
            row.display_name,
            row.metadata,
            row.auth,
            row.sealed.as_ref().map(|sealed| &sealed.key_id),
            row.sealed.as_ref().map(|sealed| &sealed.bytes),
            Micros(row.created_at),
        ])?;
    Ok(())
}

fn get(
    connection: &Connection,
    realm: &Realm,
    vault: &str,
    id: &str,
) -> rusqlite::Result<Option<CredentialRow>> {
    let sql = format!(
        "{SELECT} WHERE vaults.workspace_id = ?1 AND vaults.id = ?2 AND credentials.id = ?3
         AND ?4 IS NULL"
    );
    connection
        .prepare_cached(&sql)?
        .query_row(
            params![realm.workspace(), vault, id, realm.environment()],
            parse,
        )
        .optional()
}

fn parse(row: &Row<'_>) -> rusqlite::Result<CredentialRow> {
    let (key_id, bytes): (Option<String>, Option<Vec<u8>>) = (row.get(9)?, row.get(10)?);
    let sealed = key_id.zip(bytes);
    Ok(CredentialRow {
        id: row.get(1)?,
        vault_id: row.get(2)?,
        workspace_id: row.get(3)?,
        revision: row.get(4)?,
        binding: row.get(5)?,
        display_name: row.get(6)?,
        metadata: row.get(7)?,
        auth: row.get(8)?,
        sealed: sealed.map(|(key_id, bytes)| Sealed { key_id, bytes }),
        created_at: row.get::<_, Micros>(11)?.0,
        updated_at: row.get::<_, Micros>(12)?.0,
        archived_at: row.get::<_, Option<Micros>>(13)?.map(|at| at.0),
    })
}
