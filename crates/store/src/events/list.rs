//! The list of a session's events: numbered ones by number, queued ones after them (before them when
//! the newest come first). A cursor stays valid while events are queued, numbered and appended
//! between pages: going on from it shows every event that was there at the beginning once, under
//! whichever guise it has by then. Oldest first also shows what came since; newest first does not.

use rusqlite::{Connection, named_params};
use serde::{Deserialize, Serialize};

use super::{Events, Listed, parse_event, parse_queued};
use crate::cursor::{self, List};
use crate::{ListError, Order, Page, PageQuery, TimeRange, sessions};

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
    /// The last position shown of a queued event.
    position: i64,
    /// Newest first only: the newest number when the listing began.
    snapshot: i64,
}

impl Events<'_> {
    /// A session's events, or `None` when the workspace has no such session.
    pub async fn list(
        self,
        workspace: &str,
        session: &str,
        query: EventQuery,
    ) -> Result<Option<Page<Listed>>, ListError> {
        let (workspace, session) = (workspace.to_owned(), session.to_owned());
        self.0
            .read(move |connection| {
                let key: Option<Key> = match &query.page.cursor {
                    Some(text) => Some(cursor::decode(text, List::Events, query.order)?),
                    None => None,
                };
                // Several statements that must see one state.
                let transaction = connection.unchecked_transaction()?;
                if sessions::status(&transaction, &workspace, &session)?.is_none() {
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

struct Listing<'a> {
    connection: &'a Connection,
    session: &'a str,
    /// A JSON list of types, or null for all.
    kinds: Option<String>,
    bounds: Option<(i64, i64)>,
    limit: usize,
}

const NUMBERED: &str = "SELECT seq, id, kind, processed_at, body, position FROM events
    WHERE session_id = :session AND seq > :above AND seq < :below
    AND (position > :after OR seq <= :snapshot OR position < :before)
    AND processed_at BETWEEN :first AND :last
    AND (:kinds IS NULL OR kind IN (SELECT value FROM json_each(:kinds)))";

const QUEUED: &str = "SELECT position, id, kind, body FROM events
    WHERE session_id = :session AND seq IS NULL AND position > :after AND position < :before
    AND (:kinds IS NULL OR kind IN (SELECT value FROM json_each(:kinds)))";

/// Which numbered events are wanted: between two numbers, and either in one of the position ranges
/// or not newer than the snapshot.
struct Window {
    above: i64,
    below: i64,
    after: i64,
    before: i64,
    snapshot: i64,
}

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

    fn ascending(&self, key: Option<Key>) -> Result<Page<Listed>, ListError> {
        let mut key = key.unwrap_or(Key {
            seq: 0,
            position: 0,
            snapshot: 0,
        });
        let window = Window {
            above: key.seq,
            below: i64::MAX,
            after: key.position,
            before: i64::MIN,
            snapshot: i64::MIN,
        };
        let mut rows = self.numbered(&window, "ASC", self.limit + 1)?;
        let rest = self.limit + 1 - rows.len();
        rows.extend(self.queued(key.position, i64::MAX, "ASC", rest)?);
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        for row in &rows {
            match row {
                Listed::Numbered(event) => key.seq = event.seq,
                Listed::Queued(event) => key.position = event.position,
            }
        }
        let next = more.then(|| cursor::encode(List::Events, Order::Asc, key));
        Ok(Page {
            rows,
            next,
            prev: None,
        })
    }

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
        let mut rows = match key.seq {
            i64::MAX => self.queued(0, key.position, "DESC", self.limit + 1)?,
            _ => Vec::new(),
        };
        let window = Window {
            above: 0,
            below: key.seq,
            after: i64::MAX,
            before: key.position,
            snapshot: key.snapshot,
        };
        rows.extend(self.numbered(&window, "DESC", self.limit + 1 - rows.len())?);
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        for row in &rows {
            match row {
                Listed::Numbered(event) => key.seq = event.seq,
                Listed::Queued(event) => key.position = event.position,
            }
        }
        // With no queued event shown, only what was numbered at the beginning is still to come.
        if key.position == i64::MAX {
            key.position = i64::MIN;
        }
        let next = more.then(|| cursor::encode(List::Events, Order::Desc, key));
        Ok(Page {
            rows,
            next,
            prev: None,
        })
    }

    fn numbered(
        &self,
        window: &Window,
        direction: &str,
        limit: usize,
    ) -> Result<Vec<Listed>, ListError> {
        let (first, last) = self.bounds.unwrap_or((i64::MIN, i64::MAX));
        let sql = format!("{NUMBERED} ORDER BY seq {direction} LIMIT :limit");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let values = named_params! {
            ":session": self.session,
            ":above": window.above,
            ":below": window.below,
            ":after": window.after,
            ":before": window.before,
            ":snapshot": window.snapshot,
            ":first": first,
            ":last": last,
            ":kinds": self.kinds,
            ":limit": limit as i64,
        };
        let rows = statement.query_map(values, |row| parse_event(row).map(Listed::Numbered))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn queued(
        &self,
        after: i64,
        before: i64,
        direction: &str,
        limit: usize,
    ) -> Result<Vec<Listed>, ListError> {
        if self.bounds.is_some() || limit == 0 {
            return Ok(Vec::new());
        }
        let sql = format!("{QUEUED} ORDER BY position {direction} LIMIT :limit");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let values = named_params! {
            ":session": self.session,
            ":after": after,
            ":before": before,
            ":kinds": self.kinds,
            ":limit": limit as i64,
        };
        let rows = statement.query_map(values, |row| parse_queued(row).map(Listed::Queued))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
