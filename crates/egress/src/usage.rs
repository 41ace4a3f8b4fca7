//! What a model call used, and whether another is allowed.

use std::fmt;
use std::time::{Duration, SystemTime};

/// Which sandbox a connection belongs to, known by its link, never by what the
/// client says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientId(pub String);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Millionths of a US cent: one dollar is 100,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Microcents(pub u64);

/// Tokens of one call, as the model itself counted them. Where an answer was cut
/// before the model gave its count, an estimate stands in: four bytes a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tokens {
    /// Input that was neither read from nor written to the cache.
    pub input: u64,
    /// Output, thinking included.
    pub output: u64,
    /// Input read from the cache.
    pub cache_read: u64,
    /// Input written to the cache for five minutes.
    pub cache_write_5m: u64,
    /// Input written to the cache for one hour.
    pub cache_write_1h: u64,
    /// Web searches the model made on its side.
    pub web_searches: u64,
}

impl Tokens {
    /// The whole prompt: plain, read and written.
    #[must_use]
    pub fn prompt(&self) -> u64 {
        self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h
    }
}

/// The record of one model call.
#[derive(Debug, Clone)]
pub struct Usage {
    /// Whose call it was.
    pub client: ClientId,
    /// Path of the call, without its query.
    pub path: String,
    /// The model that answered; the one asked for when none did; empty when the
    /// request named none.
    pub model: String,
    /// The status that the client got; 499 when it left before there was one.
    pub status: u16,
    /// When the call left.
    pub started_at: SystemTime,
    /// From there to the last byte of the answer.
    pub latency: Duration,
    /// From there to the first byte of the answer's body, when there was one.
    pub time_to_first_byte: Option<Duration>,
    /// What the model counted; zero where it said nothing.
    pub tokens: Tokens,
    /// The price of the call; `None` when it cannot be known, which is never
    /// the same as free.
    pub cost: Option<Microcents>,
    /// What went wrong, as an error type of the API (`overloaded_error`) or one
    /// of ours (`upstream_cut`, `client_gone`, …). Never a message text.
    pub error: Option<String>,
    /// `request-id` of the answer.
    pub request_id: Option<String>,
}

/// A call that wants to leave, with what is known of it before it has.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// Whose call it is.
    pub client: ClientId,
    /// The model it asks for.
    pub model: String,
    /// When it wants to leave; the same time is in its [`Usage`].
    pub started_at: SystemTime,
    /// The most it can cost, by its size, its `max_tokens` and the price table.
    /// What the API does on its own side (searches, documents it fetches) is not
    /// in it. `None` when the model has no price, zero when the call is free.
    pub worst: Option<Microcents>,
}

/// Whether a call may be made.
pub enum Admission {
    /// It may.
    Allow(Box<dyn Reservation>),
    /// It may not; the client gets this as an error in the API's shape.
    Refuse {
        /// HTTP status. 4xx other than 408, 409 and 429 are not retried by
        /// clients; an unusable number becomes 403.
        status: u16,
        /// `error.type` of the body.
        error_type: &'static str,
        /// A sentence for the person behind the session.
        message: String,
    },
}

/// Money that is set aside for one call until it is known what it cost.
pub trait Reservation: Send + Sync {
    /// Takes the record of the finished call. Called exactly once, possibly from
    /// a destructor: it must not block.
    fn settle(self: Box<Self>, usage: Usage);
}
