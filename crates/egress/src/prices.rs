//! What tokens cost: the built-in dated table and the operator's own.
//!
//! A price that is not known is absent, never zero, and never guessed from a
//! similar model.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::usage::{Microcents, Tokens};

/// The table. Cheap to use, built once.
#[derive(Debug, Clone)]
pub struct Prices {
    /// Entries of each model, oldest first.
    by_model: BTreeMap<String, Vec<Entry>>,
    /// Microcents per search.
    web_search: Option<u64>,
    /// For models that are not listed.
    unknown: Option<Rates>,
}

/// On which terms a call was sold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Inference stayed in the US, which costs more:
    /// <https://platform.claude.com/docs/en/about-claude/pricing>.
    pub(crate) us_only: bool,
    /// Terms that the table has no price for (fast mode, priority tier).
    pub(crate) unlisted: bool,
}

/// What US-only inference costs, in percent of the usual.
const US_ONLY: u8 = 110;

/// Rates are for a million tokens, and multiplied with a percentage.
const MILLION_PERCENT: u128 = 100_000_000;

/// Why a table of prices cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PricesError {
    /// Not the expected form.
    #[error("the price table is not valid TOML of the expected form")]
    Form(#[from] toml::de::Error),
    /// A date that is none.
    #[error("the price of {model} has the date {from:?}, which is not YYYY-MM-DD")]
    Date {
        /// The entry's model.
        model: String,
        /// The text given.
        from: String,
    },
    /// A price that is none.
    #[error("the price of {model} has an amount that is negative or too large")]
    Amount {
        /// The entry's model.
        model: String,
    },
}

#[derive(Debug, Clone)]
struct Entry {
    from: SystemTime,
    rates: Rates,
    long_prompt: Option<(u64, Rates)>,
}

/// Microcents per million tokens: an integer for every price with up to eight
/// decimals of a dollar.
#[derive(Debug, Clone, Copy)]
struct Rates {
    input: u64,
    output: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
    cache_read: u64,
}

impl Prices {
    /// The table that ships with this crate.
    #[must_use]
    pub fn builtin() -> Self {
        let none = Self {
            by_model: BTreeMap::new(),
            web_search: None,
            unknown: None,
        };
        none.overridden_by(include_str!("prices.toml"))
            .expect("the built-in table is checked by a test")
    }

    /// This table with the operator's TOML laid over it: the entries of a model
    /// named there take the place of all entries of that model.
    ///
    /// # Errors
    /// When the text is not a table of prices; nothing of it is taken then.
    pub fn overridden_by(mut self, toml: &str) -> Result<Self, PricesError> {
        let file: File = toml::from_str(toml)?;
        let mut named: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
        for price in file.price {
            let model = price.model.clone();
            named.entry(model).or_default().push(price.entry()?);
        }
        for (model, mut entries) in named {
            entries.sort_by_key(|entry| entry.from);
            self.by_model.insert(model, entries);
        }
        if let Some(dollars) = file.web_search {
            self.web_search = Some(microcents(dollars, "web_search")?);
        }
        Ok(self)
    }

    /// This table with a price for models that are not listed, in dollars per
    /// million tokens. Cache writes cost what they cost elsewhere (1.25 and 2
    /// times the input), cache reads the whole input: too much rather than too
    /// little.
    ///
    /// # Errors
    /// When an amount is negative or too large.
    pub fn with_unknown(mut self, input: f64, output: f64) -> Result<Self, PricesError> {
        let price = |dollars| microcents(dollars, "a model that is not listed");
        self.unknown = Some(Rates {
            input: price(input)?,
            output: price(output)?,
            cache_write_5m: price(input * 1.25)?,
            cache_write_1h: price(input * 2.0)?,
            cache_read: price(input)?,
        });
        Ok(self)
    }

    /// The most that a request of `bytes` to `model` at `when` can cost when its
    /// answer has at most `max_tokens`; `None` when the model has no price.
    ///
    /// A token is at least a byte of the request, whatever the text; any of it may
    /// be written to the cache; and inference may stay in the US.
    pub(crate) fn worst(
        &self,
        model: &str,
        when: SystemTime,
        bytes: u64,
        max_tokens: u64,
    ) -> Option<Microcents> {
        let (usual, long) = self.rates(model, when)?;
        let long = long.filter(|(over, _)| bytes > *over);
        let worst = |rates: &Rates| {
            let dearest = rates.cache_write_1h.max(rates.cache_write_5m);
            let input = u128::from(bytes) * u128::from(dearest.max(rates.input));
            input + u128::from(max_tokens) * u128::from(rates.output)
        };
        let sum = worst(usual).max(long.map_or(0, |(_, rates)| worst(rates)));
        let total = (sum * u128::from(US_ONLY)).div_ceil(MILLION_PERCENT);
        Some(Microcents(u64::try_from(total).unwrap_or(u64::MAX)))
    }

    /// The rates of a model at a time, and those of long prompts.
    fn rates(&self, model: &str, when: SystemTime) -> Option<(&Rates, Option<&(u64, Rates)>)> {
        let Some(entries) = self.by_model.get(base_name(model)) else {
            return self.unknown.as_ref().map(|rates| (rates, None));
        };
        let newest = entries.iter().rev().find(|entry| entry.from <= when);
        let entry = newest.or_else(|| entries.first())?;
        Some((&entry.rates, entry.long_prompt.as_ref()))
    }

    /// The cost of a call to `model` at `when`, rounded to the nearest
    /// microcent; `None` when some part of it has no known price.
    pub(crate) fn cost(
        &self,
        model: &str,
        when: SystemTime,
        tokens: &Tokens,
        terms: Terms,
    ) -> Option<Microcents> {
        if terms.unlisted {
            return None;
        }
        let rates = match self.rates(model, when)? {
            (_, Some((over, rates))) if tokens.prompt() > *over => rates,
            (rates, _) => rates,
        };
        let searches = match tokens.web_searches {
            0 => 0,
            count => u128::from(count) * u128::from(self.web_search?),
        };
        let percent = if terms.us_only { US_ONLY } else { 100 };
        let total = rates.of(tokens, percent) + searches;
        u64::try_from(total).ok().map(Microcents)
    }
}

impl Rates {
    /// Microcents for the tokens, at `percent` of the rates.
    fn of(&self, tokens: &Tokens, percent: u8) -> u128 {
        let parts = [
            (tokens.input, self.input),
            (tokens.output, self.output),
            (tokens.cache_write_5m, self.cache_write_5m),
            (tokens.cache_write_1h, self.cache_write_1h),
            (tokens.cache_read, self.cache_read),
        ];
        let sum: u128 = parts
            .iter()
            .map(|(count, rate)| u128::from(*count) * u128::from(*rate))
            .sum();
        (sum * u128::from(percent) + MILLION_PERCENT / 2) / MILLION_PERCENT
    }
}

/// A model's name without what does not change its price: a date
/// (`-20251001`) and the CLI's context mark (`[1m]`).
fn base_name(model: &str) -> &str {
    let name = model.strip_suffix("[1m]").unwrap_or(model);
    match name.rsplit_once('-') {
        Some((base, date)) if date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit()) => base,
        _ => name,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    web_search: Option<f64>,
    #[serde(default)]
    price: Vec<FileEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEntry {
    model: String,
    from: String,
    /// Read so that a table without sources is refused.
    #[serde(rename = "source")]
    _source: String,
    input: f64,
    output: f64,
    cache_write_5m: f64,
    cache_write_1h: f64,
    cache_read: f64,
    long_prompt: Option<FileBand>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileBand {
    over: u64,
    input: f64,
    output: f64,
    cache_write_5m: f64,
    cache_write_1h: f64,
    cache_read: f64,
}

impl FileEntry {
    fn entry(self) -> Result<Entry, PricesError> {
        let model = &self.model;
        let rates = |amounts: [f64; 5]| -> Result<Rates, PricesError> {
            Ok(Rates {
                input: microcents(amounts[0], model)?,
                output: microcents(amounts[1], model)?,
                cache_write_5m: microcents(amounts[2], model)?,
                cache_write_1h: microcents(amounts[3], model)?,
                cache_read: microcents(amounts[4], model)?,
            })
        };
        let band = match &self.long_prompt {
            Some(band) => Some((
                band.over,
                rates([
                    band.input,
                    band.output,
                    band.cache_write_5m,
                    band.cache_write_1h,
                    band.cache_read,
                ])?,
            )),
            None => None,
        };
        Ok(Entry {
            from: date(&self.from).ok_or_else(|| PricesError::Date {
                model: model.clone(),
                from: self.from.clone(),
            })?,
            rates: rates([
                self.input,
                self.output,
                self.cache_write_5m,
                self.cache_write_1h,
                self.cache_read,
            ])?,
            long_prompt: band,
        })
    }
}

/// Dollars to microcents. A million dollars is the bound: above it a typing
/// error is likelier than a price.
fn microcents(dollars: f64, model: &str) -> Result<u64, PricesError> {
    if !(0.0..=1_000_000.0).contains(&dollars) {
        return Err(PricesError::Amount {
            model: model.to_owned(),
        });
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok((dollars * 100_000_000.0).round() as u64)
}

/// Midnight UTC of a `YYYY-MM-DD` after 1970.
fn date(text: &str) -> Option<SystemTime> {
    let mut parts = text.split('-');
    let mut next = |length: usize| {
        parts
            .next()
            .filter(|part| part.len() == length)
            .and_then(|part| part.parse::<u64>().ok())
    };
    let (year, month, day) = (next(4)?, next(2)?, next(2)?);
    if parts.next().is_some()
        || year < 1970
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
    {
        return None;
    }
    // Days of the proleptic Gregorian calendar, the year starting in March.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400))
}

#[cfg(test)]
mod tests;
