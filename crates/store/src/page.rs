//! Pages of lists that are ordered by date of creation, forwards and backwards. A cursor names a row
//! by its date and row number, so it stays valid while rows are added or deleted around it.

use rusqlite::types::FromSql;
use rusqlite::{Connection, Row, ToSql};
use serde::{Deserialize, Serialize};

use crate::cursor::{self, CursorError, List};
use crate::error::from_engine;
use crate::{StoreError, TimeRange};

/// The most rows that one page can hold; a larger limit is taken as this.
pub const PAGE_LIMIT: u32 = 1000;

/// Direction of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Oldest first.
    Asc,
    /// Newest first.
    #[default]
    Desc,
}

/// Which part of a list is wanted.
#[derive(Clone, Debug)]
pub struct PageQuery {
    /// Rows on the page: 1 to [`PAGE_LIMIT`]; values outside are moved to the nearest.
    pub limit: u32,
    /// A [`Page::next`] or [`Page::prev`] of the same list and order; `None` begins.
    pub cursor: Option<String>,
}

impl Default for PageQuery {
    fn default() -> PageQuery {
        PageQuery {
            limit: 20,
            cursor: None,
        }
    }
}

impl PageQuery {
    pub(crate) fn rows(&self) -> usize {
        self.limit.clamp(1, PAGE_LIMIT) as usize
    }
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// In the order of the list, whichever way the page was reached.
    pub rows: Vec<T>,
    /// Leads to the rows after this page; `None` when there are none.
    pub next: Option<String>,
    /// Leads to the rows before this page; `None` on the first page and on lists that only go forward.
    pub prev: Option<String>,
}

/// Why a list could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The cursor cannot be used here.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
from_engine!(ListError);

/// What a cursor of a dated list says.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    at: i64,
    number: i64,
    /// Whether it leads to the rows before the key.
    back: bool,
    /// Whether the row of the key itself is wanted.
    with: bool,
}

/// A dated list as SQL: `table` has the columns `number` and `created_at`.
pub(crate) struct Dated<'a> {
    pub(crate) list: List,
    pub(crate) order: Order,
    /// Columns and tables: `SELECT … FROM …`, with `base` as the name of the dated table.
    pub(crate) select: &'a str,
    pub(crate) base: &'a str,
    /// A condition over the named parameters given in `values`.
    pub(crate) condition: &'a str,
    pub(crate) values: &'a [(&'a str, &'a dyn ToSql)],
    pub(crate) created: TimeRange,
}

impl Dated<'_> {
    /// Reads one page; `parse` makes a row from the selected columns.
    pub(crate) fn page<T>(
        &self,
        connection: &Connection,
        query: &PageQuery,
        parse: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Page<T>, ListError> {
        let key: Option<Key> = match &query.cursor {
            Some(text) => Some(cursor::decode(text, self.list, self.order)?),
            None => None,
        };
        let limit = query.rows();
        let mut rows = self.fetch(connection, key, limit + 1, parse)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let back = key.is_some_and(|key| key.back);
        if back {
            rows.reverse();
        }
        let to = |at, number, back, with| {
            Some(cursor::encode(
                self.list,
                self.order,
                Key {
                    at,
                    number,
                    back,
                    with,
                },
            ))
        };
        let (first, last) = (rows.first().map(|row| row.0), rows.last().map(|row| row.0));
        let (next, prev) = match (key, first, last) {
            (None, _, Some((at, number))) if more => (to(at, number, false, false), None),
            (None, ..) => (None, None),
            // Nothing is left on this side: the way back begins at the key itself.
            (Some(key), None, _) | (Some(key), _, None) if back => {
                (to(key.at, key.number, false, !key.with), None)
            }
            (Some(key), None, _) | (Some(key), _, None) => {
                (None, to(key.at, key.number, true, !key.with))
            }
            (Some(_), Some(first), Some(last)) => (
                (back || more)
                    .then(|| to(last.0, last.1, false, false))
                    .flatten(),
                (!back || more)
                    .then(|| to(first.0, first.1, true, false))
                    .flatten(),
            ),
        };
        Ok(Page {
            rows: rows.into_iter().map(|(_, row)| row).collect(),
            next,
            prev,
        })
    }

    fn fetch<T>(
        &self,
        connection: &Connection,
        key: Option<Key>,
        limit: usize,
        parse: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<((i64, i64), T)>> {
        let down = (self.order == Order::Desc) != key.is_some_and(|key| key.back);
        let (compare, direction, end) = if down {
            ("<", "DESC", i64::MAX)
        } else {
            (">", "ASC", i64::MIN)
        };
        let (at, number, with) = key.map_or((end, end, true), |key| (key.at, key.number, key.with));
        let equal = if with { "=" } else { "" };
        let (base, select, condition) = (self.base, self.select, self.condition);
        let sql = format!(
            "{select} WHERE ({condition}) AND {base}.created_at BETWEEN :first AND :last \
             AND ({base}.created_at, {base}.number) {compare}{equal} (:at, :number) \
             ORDER BY {base}.created_at {direction}, {base}.number {direction} LIMIT :limit"
        );
        let (first, last) = self.created.bounds().unwrap_or((i64::MIN, i64::MAX));
        let limit = limit as i64;
        let mut values: Vec<(&str, &dyn ToSql)> = self.values.to_vec();
        values.extend_from_slice(&[
            (":first", &first as &dyn ToSql),
            (":last", &last),
            (":at", &at),
            (":number", &number),
            (":limit", &limit),
        ]);
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(values.as_slice(), |row| {
            Ok((
                (column(row, "created_at")?, column(row, "number")?),
                parse(row)?,
            ))
        })?;
        rows.collect()
    }
}

fn column<T: FromSql>(row: &Row<'_>, name: &str) -> rusqlite::Result<T> {
    row.get(name)
}
