//! Times as the database keeps them: microseconds since 1970 in UTC. Never asks a clock.

use chrono::{DateTime, Utc};
use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};

/// A time on its way into or out of a column. Anything finer than a microsecond is cut off.
#[derive(Clone, Copy)]
pub(crate) struct Micros(pub(crate) DateTime<Utc>);

impl ToSql for Micros {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.timestamp_micros().into())
    }
}

impl FromSql for Micros {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Micros> {
        let micros = value.as_i64()?;
        DateTime::from_timestamp_micros(micros)
            .map(Micros)
            .ok_or(FromSqlError::OutOfRange(micros))
    }
}

/// Bounds on a time, each optional; all given ones must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// Strictly later than this.
    pub gt: Option<DateTime<Utc>>,
    /// At this time or later.
    pub gte: Option<DateTime<Utc>>,
    /// Strictly earlier than this.
    pub lt: Option<DateTime<Utc>>,
    /// At this time or earlier.
    pub lte: Option<DateTime<Utc>>,
}

impl TimeRange {
    /// First and last microsecond that satisfy every bound, or `None` when there is no bound.
    pub(crate) fn bounds(&self) -> Option<(i64, i64)> {
        if *self == TimeRange::default() {
            return None;
        }
        // Stored times are whole microseconds: a bound between two of them is rounded inwards.
        let floor = |at: DateTime<Utc>| at.timestamp_micros();
        let ceiling = |at: DateTime<Utc>| {
            at.timestamp_micros() + i64::from(!at.timestamp_subsec_nanos().is_multiple_of(1000))
        };
        let first = [
            self.gt.map(|at| floor(at).saturating_add(1)),
            self.gte.map(ceiling),
        ];
        let last = [
            self.lt.map(|at| ceiling(at).saturating_sub(1)),
            self.lte.map(floor),
        ];
        Some((
            first.into_iter().flatten().max().unwrap_or(i64::MIN),
            last.into_iter().flatten().min().unwrap_or(i64::MAX),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_between_two_microseconds_are_rounded_inwards() {
        let at = |nanos| DateTime::from_timestamp(0, nanos);
        let bounds = |range: TimeRange| range.bounds().unwrap();
        assert_eq!(TimeRange::default().bounds(), None);
        assert_eq!(
            bounds(TimeRange {
                gt: at(5_000),
                ..Default::default()
            })
            .0,
            6
        );
        assert_eq!(
            bounds(TimeRange {
                gt: at(5_500),
                ..Default::default()
            })
            .0,
            6
        );
        assert_eq!(
            bounds(TimeRange {
                gte: at(5_000),
                ..Default::default()
            })
            .0,
            5
        );
        assert_eq!(
            bounds(TimeRange {
                gte: at(5_500),
                ..Default::default()
            })
            .0,
            6
        );
        assert_eq!(
            bounds(TimeRange {
                lt: at(5_000),
                ..Default::default()
            })
            .1,
            4
        );
        assert_eq!(
            bounds(TimeRange {
                lt: at(5_500),
                ..Default::default()
            })
            .1,
            5
        );
        assert_eq!(
            bounds(TimeRange {
                lte: at(5_000),
                ..Default::default()
            })
            .1,
            5
        );
        assert_eq!(
            bounds(TimeRange {
                lte: at(5_500),
                ..Default::default()
            })
            .1,
            5
        );
    }
}
