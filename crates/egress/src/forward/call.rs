//! The record of one model call, from its arrival to whatever end it has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::HeaderName;
use http::{HeaderMap, StatusCode};

use crate::meter::{BYTES_PER_TOKEN, Meter, Reading};
use crate::prices::Prices;
use crate::usage::{Estimate, Microcents, Reservation, Tokens, Usage};

/// Client closed request: the status of a call whose client left before it had
/// an answer. No answer carries it.
const CLIENT_LEFT: u16 = 499;

/// What a call is sold as.
pub(crate) struct Sold {
    pub(crate) prices: Arc<Prices>,
    /// Path of the call, without its query.
    pub(crate) path: &'static str,
    /// Calls to this path are free of charge.
    pub(crate) free: bool,
    /// Bytes of its request.
    pub(crate) bytes: u64,
}

/// One call. Its destructor settles its reservation, so there is exactly one
/// record however the call ends, cancellation included.
pub(crate) struct Call {
    sold: Sold,
    asked: Estimate,
    reservation: Option<Box<dyn Reservation>>,
    began: Instant,
    status: u16,
    request_id: Option<String>,
    first_byte: Option<Duration>,
    meter: Option<Meter>,
    end: End,
}

/// How the call ended; until something else is known, its client went away.
enum End {
    ClientGone,
    Whole,
    Failed(&'static str),
}

impl Call {
    /// A call that leaves now.
    pub(crate) fn new(sold: Sold, asked: Estimate, reservation: Box<dyn Reservation>) -> Self {
        Self {
            sold,
            asked,
            reservation: Some(reservation),
            began: Instant::now(),
            status: CLIENT_LEFT,
            request_id: None,
            first_byte: None,
            meter: None,
            end: End::ClientGone,
        }
    }

    /// An answer has begun.
    pub(crate) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.status = status.as_u16();
        self.request_id = headers
            .get(HeaderName::from_static("request-id"))
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        self.meter = Some(Meter::new(status, headers));
    }

    /// Bytes of the answer go by.
    pub(crate) fn passed(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.first_byte.is_none() {
            self.first_byte = Some(self.began.elapsed());
        }
        if let Some(meter) = &mut self.meter {
            meter.feed(bytes);
        }
    }

    /// The answer went by to its end.
    pub(crate) fn whole(&mut self) {
        self.end = End::Whole;
    }

    /// The call ends here without upstream's answer, or in the middle of it.
    /// `status` is given when egress answered in upstream's place.
    pub(crate) fn failed(&mut self, cause: &'static str, status: Option<StatusCode>) {
        self.end = End::Failed(cause);
        if let Some(status) = status {
            self.status = status.as_u16();
        }
    }

    fn error(&self, reading: &Reading) -> Option<String> {
        if let Some(error) = &reading.error {
            return Some(error.clone());
        }
        match self.end {
            End::Failed(cause) => Some(cause.to_owned()),
            // A stream that ended without its end mark was cut, whatever its
            // transport says, and one that has it is whole even when its client
            // does not wait for the connection's end.
            _ if reading.ended == Some(true) => None,
            End::Whole if reading.ended == Some(false) => Some("upstream_cut".to_owned()),
            End::Whole if self.status >= 400 => Some(format!("status_{}", self.status)),
            End::Whole => None,
            End::ClientGone => Some("client_gone".to_owned()),
        }
    }

    /// What was used: as the model counted it, or as far as it can be told.
    fn tokens(&self, reading: &Reading) -> Option<Tokens> {
        let left_early = self.status == CLIENT_LEFT;
        match reading.tokens {
            _ if self.sold.free => None,
            // The count of a stream comes at its end. One that was cut before has
            // said what was said.
            Some(tokens) if reading.ended == Some(false) => Some(Tokens {
                output: tokens.output.max(reading.said),
                ..tokens
            }),
            Some(tokens) => Some(tokens),
            // The model had the request, and perhaps read it.
            None if left_early => Some(Tokens {
                input: self.sold.bytes / BYTES_PER_TOKEN,
                ..Tokens::default()
            }),
            None => None,
        }
    }

    fn cost(&self, model: &str, tokens: Option<Tokens>, reading: &Reading) -> Option<Microcents> {
        let Some(tokens) = tokens else {
            let nothing = self.sold.free || self.status >= 400;
            return nothing.then_some(Microcents(0));
        };
        let prices = &self.sold.prices;
        prices.cost(model, self.asked.started_at, &tokens, reading.terms)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Some(reservation) = self.reservation.take() else {
            return;
        };
        let reading = self.meter.as_ref().map(Meter::reading).unwrap_or_default();
        let asked = std::mem::take(&mut self.asked.model);
        let model = reading.model.clone().unwrap_or(asked);
        let tokens = self.tokens(&reading);
        reservation.settle(Usage {
            client: self.asked.client.clone(),
            path: self.sold.path.to_owned(),
            status: self.status,
            started_at: self.asked.started_at,
            latency: self.began.elapsed(),
            time_to_first_byte: self.first_byte,
            tokens: tokens.unwrap_or_default(),
            cost: self.cost(&model, tokens, &reading),
            error: self.error(&reading),
            request_id: self.request_id.take(),
            model,
        });
    }
}
