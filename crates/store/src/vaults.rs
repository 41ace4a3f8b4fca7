//! Vaults: named sets of credentials. They belong to a workspace; to a key of one environment they look
//! absent. Never sees a secret: see `credentials`.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use crate::cursor::List;
use crate::page::Dated;
use crate::time::Micros;
use crate::{InsertError, ListError, Order, Page, PageQuery, Realm, Store, StoreError, TimeRange};

/// One vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultRow {
    /// Its id.
    pub id: String,
    /// Whose it is; must exist.
    pub workspace_id: String,
    /// A name for people.
    pub display_name: String,
    /// The caller's own pairs, as JSON text.
    pub metadata: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// When it was archived, if it was.
    pub archived_at: Option<DateTime<Utc>>,
}

/// What [`Vaults::list`] shows, newest first.
#[derive(Clone, Debug, Default)]
pub struct VaultQuery {
    /// Whether archived ones are shown, too.
    pub include_archived: bool,
    /// Which page.
    pub page: PageQuery,
}

const SELECT: &str = "SELECT vaults.number, vaults.id, vaults.workspace_id, vaults.display_name,
    vaults.metadata, vaults.created_at, vaults.updated_at, vaults.archived_at FROM vaults";

/// Operations on vaults; see [`Store::vaults`].
#[derive(Clone, Copy)]
pub struct Vaults<'a>(pub(crate) &'a Store);

impl Vaults<'_> {
    /// Makes a vault.
    pub async fn create(self, row: VaultRow) -> Result<(), InsertError> {
        self.0
            .write(move |connection| {
                connection
                    .prepare_cached(
                        "INSERT INTO vaults
                             (id, workspace_id, display_name, metadata, created_at, updated_at)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
                    )?
                    .execute(params![
                        row.id,
                        row.workspace_id,
                        row.display_name,
                        row.metadata,
                        Micros(row.created_at)
                    ])?;
                Ok(())
            })
            .await
    }

    /// One vault.
    pub async fn get(self, realm: &Realm, id: &str) -> Result<Option<VaultRow>, StoreError> {
        let (realm, id) = (realm.clone(), id.to_owned());
        self.0
            .read(move |connection| Ok(get(connection, &realm, &id)?))
            .await
    }

    /// A workspace's vaults, newest first.
    pub async fn list(self, realm: &Realm, query: VaultQuery) -> Result<Page<VaultRow>, ListError> {
        let realm = realm.clone();
        self.0
            .read(move |connection| {
                let dated = Dated {
                    list: List::Vaults,
                    order: Order::Desc,
                    select: SELECT,
                    base: "vaults",
                    condition: "vaults.workspace_id = :workspace AND :environment IS NULL
                        AND (:archived OR vaults.archived_at IS NULL)",
                    values: named_params! {
                        ":workspace": realm.workspace(),
                        ":environment": realm.environment(),
                        ":archived": query.include_archived,
                    },
                    created: TimeRange::default(),
                };
                dated.page(connection, &query.page, parse)
            })
            .await
    }

    /// Gives a vault another name or other metadata (`None` keeps); `None` when there is none, and an archived
    /// one as it is.
    pub async fn update(
        self,
        realm: &Realm,
        id: &str,
        display_name: Option<String>,
        metadata: Option<String>,
        at: DateTime<Utc>,
    ) -> Result<Option<VaultRow>, StoreError> {
        let (realm, id) = (realm.clone(), id.to_owned());
        self.0
            .write(move |connection| {
                let Some(row) = get(connection, &realm, &id)? else {
                    return Ok(None);
                };
                connection
                    .prepare_cached(
                        "UPDATE vaults SET display_name = coalesce(?2, display_name),
                             metadata = coalesce(?3, metadata), updated_at = ?4
                         WHERE id = ?1 AND archived_at IS NULL",
                    )?
                    .execute(params![row.id, display_name, metadata, Micros(at)])?;
                Ok(get(connection, &realm, &id)?)
            })
            .await
    }

    /// Archives a vault with its credentials, whose secrets are gone then; an archived one stays as it is.
    /// `None` when there is none.
    pub async fn archive(
        self,
        realm: &Realm,
        id: &str,
        at: DateTime<Utc>,
    ) -> Result<Option<VaultRow>, StoreError> {
        let (realm, id) = (realm.clone(), id.to_owned());
        self.0
            .write(move |connection| {
                let Some(row) = get(connection, &realm, &id)? else {
                    return Ok(None);
                };
                if row.archived_at.is_some() {
                    return Ok(Some(row));
                }
                let at = Micros(at);
                connection
                    .prepare_cached(
                        "UPDATE vaults SET archived_at = ?2, updated_at = ?2 WHERE id = ?1",
                    )?
                    .execute(params![id, at])?;
                connection
                    .prepare_cached(
                        "UPDATE credentials SET archived_at = ?2, updated_at = ?2,
                             revision = revision + 1, key_id = NULL, sealed = NULL
                         WHERE vault_id = ?1 AND archived_at IS NULL",
                    )?
                    .execute(params![id, at])?;
                Ok(get(connection, &realm, &id)?)
            })
            .await
    }

    /// Deletes a vault with its credentials; whether there was one.
    pub async fn delete(self, realm: &Realm, id: &str) -> Result<bool, StoreError> {
        let (realm, id) = (realm.clone(), id.to_owned());
        self.0
            .write(move |connection| {
                if get(connection, &realm, &id)?.is_none() {
                    return Ok(false);
                }
                connection
                    .prepare_cached("DELETE FROM vaults WHERE id = ?1")?
                    .execute([&id])?;
                Ok(true)
            })
            .await
    }
}

pub(crate) fn get(
    connection: &Connection,
    realm: &Realm,
    id: &str,
) -> rusqlite::Result<Option<VaultRow>> {
    let sql = format!("{SELECT} WHERE workspace_id = ?1 AND id = ?2 AND ?3 IS NULL");
    connection
        .prepare_cached(&sql)?
        .query_row(params![realm.workspace(), id, realm.environment()], parse)
        .optional()
}

fn parse(row: &Row<'_>) -> rusqlite::Result<VaultRow> {
    Ok(VaultRow {
        id: row.get(1)?,
        workspace_id: row.get(2)?,
        display_name: row.get(3)?,
        metadata: row.get(4)?,
        created_at: row.get::<_, Micros>(5)?.0,
        updated_at: row.get::<_, Micros>(6)?.0,
        archived_at: row.get::<_, Option<Micros>>(7)?.map(|at| at.0),
    })
}
