//! Query strings, read as strictly as bodies: every key is taken once, the rest is refused.
//!
//! Lists come as `name[]=a&name[]=b` or as the bare name repeated, ranges as `created_at[gte]=…`,
//! with the brackets percent-encoded or not. An empty value means the same as none.

use api::error::Invalid;
use api::read::quoted;
use api::time::Timestamp;
use axum::extract::FromRequestParts;
use http::request::Parts;
use store::{Order, PageQuery, TimeRange};

use crate::error::ApiError;

/// The keys of a query, taken one by one.
#[derive(Debug)]
pub(super) struct Query {
    left: Vec<(String, String)>,
    known: Vec<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query, ApiError> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let pairs = pairs.map_err(|error| {
            ApiError::invalid("the query string cannot be read").caused_by(error)
        })?;
        Ok(Query::new(pairs.0))
    }
}

impl Query {
    fn new(pairs: Vec<(String, String)>) -> Query {
        // Older clients add `beta=true` to every address.
        let left = pairs
            .into_iter()
            .filter(|(key, value)| key != "beta" && !value.is_empty())
            .collect();
        Query {
            left,
            known: Vec::new(),
        }
    }

    /// Every value of `key`, bare or with brackets.
    pub(super) fn list(&mut self, key: &str) -> Vec<String> {
        let bracketed = format!("{key}[]");
        let (taken, left) = std::mem::take(&mut self.left)
            .into_iter()
            .partition(|(name, _)| name == key || *name == bracketed);
        self.left = left;
        self.known.push(bracketed);
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// The value of `key`.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, Invalid> {
        let (mut taken, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.left)
            .into_iter()
            .partition(|(name, _)| name == key);
        self.left = left;
        self.known.push(key.to_owned());
        if taken.len() > 1 {
            return Err(Invalid::new(format!("{key}: given more than once")));
        }
        Ok(taken.pop().map(|(_, value)| value))
    }

    /// A whole number between `min` and `max`.
    pub(super) fn number(&mut self, key: &str, min: u32, max: u32) -> Result<Option<u32>, Invalid> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        let number = text
            .parse()
            .ok()
            .filter(|number| (min..=max).contains(number));
        let refuse = || {
            Invalid::new(format!(
                "{key}: must be an integer from {min} to {max}, got {}",
                quoted(&text)
            ))
        };
        number.map(Some).ok_or_else(refuse)
    }

    /// `true` or `false`; false when absent.
    pub(super) fn switch(&mut self, key: &str) -> Result<bool, Invalid> {
        match self.text(key)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Invalid::new(format!(
                "{key}: must be `true` or `false`, got {}",
                quoted(other)
            ))),
        }
    }

    /// `asc` or `desc`.
    pub(super) fn order(&mut self, default: Order) -> Result<Order, Invalid> {
        match self.text("order")?.as_deref() {
            None => Ok(default),
            Some("asc") => Ok(Order::Asc),
            Some("desc") => Ok(Order::Desc),
            Some(other) => Err(Invalid::new(format!(
                "order: must be `asc` or `desc`, got {}",
                quoted(other)
            ))),
        }
    }

    /// The bounds `created_at[…]` that are named in `bounds`.
    pub(super) fn created_at(&mut self, bounds: &[&str]) -> Result<TimeRange, Invalid> {
        let mut range = TimeRange::default();
        for bound in bounds {
            let key = format!("created_at[{bound}]");
            let moment = match self.text(&key)? {
                Some(text) => Some(Timestamp::parse(&text, &key)?.0),
                None => None,
            };
            match *bound {
                "gt" => range.gt = moment,
                "gte" => range.gte = moment,
                "lt" => range.lt = moment,
                _ => range.lte = moment,
            }
        }
        Ok(range)
    }

    /// `limit` and `page`.
    pub(super) fn page(&mut self, default: u32, max: u32) -> Result<PageQuery, Invalid> {
        Ok(PageQuery {
            limit: self.number("limit", 1, max)?.unwrap_or(default),
            cursor: self.text("page")?,
        })
    }

    /// Refuses whatever was not taken.
    pub(super) fn finish(self) -> Result<(), Invalid> {
        let Some((key, _)) = self.left.first() else {
            return Ok(());
        };
        let known: Vec<String> = self
            .known
            .iter()
            .map(|known| format!("`{known}`"))
            .collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        Err(Invalid::new(format!(
            "unknown query parameter {}; known here: {known}",
            quoted(key)
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        let uri = format!("http://x/?{text}").parse().unwrap();
        Query::new(
            axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri)
                .unwrap()
                .0,
        )
    }

    #[test]
    fn lists_are_taken_in_every_spelling() {
        for text in [
            "types[]=a&types[]=b",
            "types%5B%5D=a&types%5B%5D=b",
            "types=a&types=b",
            "types=a&types[]=b&types=",
        ] {
            let mut query = query(text);
            assert_eq!(query.list("types"), ["a", "b"], "{text}");
            query.finish().unwrap();
        }
    }

    #[test]
    fn ranges_are_taken_encoded_or_not() {
        for text in [
            "created_at[gte]=2026-01-01T00:00:00Z",
            "created_at%5Bgte%5D=2026-01-01T01%3A00%3A00%2B01%3A00",
        ] {
            let mut query = query(text);
            let range = query.created_at(&["gte", "lte"]).unwrap();
            assert_eq!(range.gte.unwrap().to_rfc3339(), "2026-01-01T00:00:00+00:00");
            query.finish().unwrap();
        }
    }

    #[test]
    fn refusals_name_the_key() {
        let page = |text: &str| query(text).page(20, 100).map(drop);
        assert_eq!(
            page("limit=0").unwrap_err().message,
            "limit: must be an integer from 1 to 100, got \"0\""
        );
        assert_eq!(
            page("limit=101").unwrap_err().message,
            "limit: must be an integer from 1 to 100, got \"101\""
        );
        assert_eq!(
            page("limit=1&limit=2").unwrap_err().message,
            "limit: given more than once"
        );
        let mut query = query("beta=true&colour=red&page=");
        query.page(20, 100).unwrap();
        assert_eq!(
            query.finish().unwrap_err().message,
            "unknown query parameter \"colour\"; known here: `limit`, `page`"
        );
    }
}
