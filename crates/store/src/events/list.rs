//! The list of a session's events: numbered ones by number, queued ones after them (before them when
//! the newest come first). A cursor stays valid while events are queued, numbered and appended
//! between pages: going on from it shows every event that was there at the beginning once, under
//! whichever guise it has by then. Oldest first also shows what came since; newest first does not.

use rusqlite::{Connection, ToSql, named_params};
use serde::{Deserialize, Serialize};

use super::{Events, Listed, parse_either};
use crate::cursor::{self, List};
use crate::{ListError, Order, Page, PageQuery, Realm, TimeRange, sessions};

/// What [`Events::list`] shows.
#[derive(Clone, Debug)]
pub struct EventQuery {
    /// Oldest or newest first.
    pub order: Order,
    /// Only events of these types; none means all.
    pub kinds: Vec<String>,
    /// Bounds on the time of processing; with any, queued events are not shown.
    pub processed: TimeRange,
    /// Which page.
    pub page: PageQuery,
}

impl Default for EventQuery {
    fn default() -> EventQuery {
        EventQuery {
            order: Order::Asc,
            kinds: Vec::new(),
            processed: TimeRange::default(),
            page: PageQuery::default(),
        }
    }
}

/// Where a listing stands. An event keeps its position when it gets its number, so positions tell
/// which of the events numbered meanwhile were already shown while they were queued.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    /// Oldest first: the last number shown. Newest first: numbers below this are still to come.
    seq: i64,
    /// The last position shown of an event that was queued when the listing began.
    position: i64,
    /// Newest first only: the newest number when the listing began.
    snapshot: i64,
}

impl Events<'_> {
    /// A session's events, or `None` when the realm has no such session.
    pub async fn list(
        self,
        realm: &Realm,
        session: &str,
        query: EventQuery,
    ) -> Result<Option<Page<Listed>>, ListError> {
        let (realm, session) = (realm.clone(), session.to_owned());
        self.0
            .read(move |connection| {
                let key: Option<Key> = match &query.page.cursor {
                    Some(text) => Some(cursor::decode(text, List::Events, query.order)?),
                    None => None,
                };
                // Several statements that must see one state.
                let transaction = connection.unchecked_transaction()?;
                if sessions::status(&transaction, &realm, &session)?.is_none() {
                    return Ok(None);
                }
                let listing = Listing::new(&transaction, &session, &query)?;
                match query.order {
                    Order::Asc => listing.ascending(key),
                    Order::Desc => listing.descending(key),
                }
                .map(Some)
            })
            .await
    }
}

/// An event with its position.
type Placed = (i64, Listed);

struct Listing<'a> {
    connection: &'a Connection,
    session: &'a str,
    /// A JSON list of types, or null for all.
    kinds: Option<String>,
    bounds: Option<(i64, i64)>,
    limit: usize,
}

const COLUMNS: &str = "SELECT seq, id, kind, processed_at, body, position FROM events
    WHERE session_id = :session AND (:kinds IS NULL OR kind IN (SELECT value FROM json_each(:kinds)))";

impl<'a> Listing<'a> {
    fn new(
        connection: &'a Connection,
        session: &'a str,
        query: &EventQuery,
    ) -> Result<Listing<'a>, ListError> {
        let kinds = (!query.kinds.is_empty()).then(|| serde_json::json!(query.kinds).to_string());
        let bounds = query.processed.bounds();
        Ok(Listing {
            connection,
            session,
            kinds,
            bounds,
            limit: query.page.rows(),
        })
    }

    /// First what has a number beyond the last one shown and was not shown while it was queued, then
    /// the queue.
    fn ascending(&self, key: Option<Key>) -> Result<Page<Listed>, ListError> {
        let mut key = key.unwrap_or(Key {
            seq: 0,
            position: 0,
            snapshot: 0,
        });
        let mut rows = self.numbered(key.seq, i64::MAX, key.position, "ASC", self.limit + 1)?;
        let rest = self.limit + 1 - rows.len();
        rows.extend(self.waiting(key.position, rest)?);
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        for (_, row) in &rows {
            match row {
                Listed::Numbered(event) => key.seq = event.seq,
                Listed::Queued(event) => key.position = event.position,
            }
        }
        let next = more.then(|| cursor::encode(List::Events, Order::Asc, key));
        Ok(Page {
            rows: rows.into_iter().map(|(_, row)| row).collect(),
            next,
            prev: None,
        })
    }

    /// First what was queued when the listing began, numbered by now or not, in its order then; then
    /// what was numbered when the listing began.
    fn descending(&self, key: Option<Key>) -> Result<Page<Listed>, ListError> {
        let mut key = match key {
            Some(key) => key,
            None => {
                let snapshot = super::last_seq(self.connection, self.session)?;
                Key {
                    seq: i64::MAX,
                    position: i64::MAX,
                    snapshot,
                }
            }
        };
        let mut rows = self.unsettled(&key, self.limit + 1)?;
        let rest = self.limit + 1 - rows.len();
        let below = key.seq.min(key.snapshot.saturating_add(1));
        rows.extend(self.numbered(0, below, 0, "DESC", rest)?);
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        for (position, row) in &rows {
            match row {
                Listed::Numbered(event) if event.seq <= key.snapshot => {
                    // Whatever is queued from now on is newer than the listing.
                    (key.seq, key.position) = (event.seq, i64::MIN);
                }
                _ => key.position = *position,
            }
        }
        let next = more.then(|| cursor::encode(List::Events, Order::Desc, key));
        Ok(Page {
            rows: rows.into_iter().map(|(_, row)| row).collect(),
            next,
            prev: None,
        })
    }

    /// Numbered events between two numbers, of positions after the given one.
    fn numbered(
        &self,
        above: i64,
        below: i64,
        after: i64,
        direction: &str,
        limit: usize,
    ) -> Result<Vec<Placed>, ListError> {
        let (first, last) = self.bounds.unwrap_or((i64::MIN, i64::MAX));
        let sql = format!(
            "{COLUMNS} AND seq > :above AND seq < :below AND position > :after
             AND processed_at BETWEEN :first AND :last ORDER BY seq {direction} LIMIT :limit"
        );
        let values = named_params! {
            ":session": self.session,
            ":kinds": self.kinds,
            ":above": above,
            ":below": below,
            ":after": after,
            ":first": first,
            ":last": last,
            ":limit": limit as i64,
        };
        self.fetch(&sql, values)
    }

    /// Queued events after a position, in order of arrival.
    fn waiting(&self, after: i64, limit: usize) -> Result<Vec<Placed>, ListError> {
        if self.bounds.is_some() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "{COLUMNS} AND seq IS NULL AND position > :after ORDER BY position LIMIT :limit"
        );
        let values = named_params! {
            ":session": self.session,
            ":kinds": self.kinds,
            ":after": after,
            ":limit": limit as i64,
        };
        self.fetch(&sql, values)
    }

    /// Events that had no number when the listing began, before a position, newest first. Positions
    /// only grow, so nothing that came later is before one that was shown.
    fn unsettled(&self, key: &Key, limit: usize) -> Result<Vec<Placed>, ListError> {
        if self.bounds.is_some() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "{COLUMNS} AND (seq IS NULL OR seq > :snapshot) AND position < :before
             ORDER BY position DESC LIMIT :limit"
        );
        let values = named_params! {
            ":session": self.session,
            ":kinds": self.kinds,
            ":snapshot": key.snapshot,
            ":before": key.position,
            ":limit": limit as i64,
        };
        self.fetch(&sql, values)
    }

    fn fetch(&self, sql: &str, values: &[(&str, &dyn ToSql)]) -> Result<Vec<Placed>, ListError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(values, |row| Ok((row.get(5)?, parse_either(row)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
