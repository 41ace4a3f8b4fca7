//! Moments, as the contract writes and reads them.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Invalid;
use crate::read::quoted;

/// A moment: RFC 3339 in UTC with microseconds and `Z`, always of the same length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub DateTime<Utc>);

impl Timestamp {
    /// Reads a client's moment, whatever its offset.
    ///
    /// # Errors
    /// When it is not RFC 3339; `field` is what the message names.
    pub fn parse(text: &str, field: &str) -> Result<Timestamp, Invalid> {
        DateTime::parse_from_rfc3339(text)
            .map(|moment| Timestamp(moment.with_timezone(&Utc)))
            .map_err(|_| {
                Invalid::new(format!(
                    "{field}: must be an RFC 3339 timestamp, got {}",
                    quoted(text)
                ))
            })
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        DateTime::<Utc>::deserialize(deserializer).map(Timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_and_utc_is_written() {
        let moment = Timestamp::parse("2026-11-22T18:00:00+01:00", "created_at[gte]").unwrap();
        assert_eq!(moment.to_string(), "2026-11-22T17:00:00.000000Z");
    }

    #[test]
    fn a_malformed_moment_names_its_field() {
        let error = Timestamp::parse("yesterday", "created_at[lt]").unwrap_err();
        assert_eq!(
            error.message,
            "created_at[lt]: must be an RFC 3339 timestamp, got \"yesterday\""
        );
    }
}
