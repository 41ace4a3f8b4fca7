//! The record of one model call, from its arrival to whatever end it has.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::HeaderName;
use http::{HeaderMap, StatusCode};

use super::body::Asked;
use crate::meter::{Meter, Reading};
use crate::prices::Prices;
use crate::usage::{ClientId, Microcents, Tokens, Usage};
use crate::windows::UsageSink;

/// Client closed request: the status of a call whose client left before it had
/// an answer. No answer carries it.
const CLIENT_LEFT: u16 = 499;

/// Who is billed how; shared by all calls.
pub(crate) struct Bill {
    pub(crate) usage: Arc<dyn UsageSink>,
    pub(crate) prices: Prices,
}

/// One call. Its destructor hands the record to the sink, so there is exactly
/// one record however the call ends, cancellation included.
pub(crate) struct Call {
    bill: Arc<Bill>,
    client: ClientId,
    path: String,
    /// Calls to this path are free of charge.
    free: bool,
    asked: Arc<Asked>,
    started_at: SystemTime,
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
    pub(crate) fn new(
        bill: Arc<Bill>,
        client: ClientId,
        path: &str,
        free: bool,
        started_at: SystemTime,
    ) -> Self {
        Self {
            bill,
            client,
            path: path.to_owned(),
            free,
            asked: Arc::default(),
            started_at,
            began: Instant::now(),
            status: CLIENT_LEFT,
            request_id: None,
            first_byte: None,
            meter: None,
            end: End::ClientGone,
        }
    }

    /// Where the request's body leaves the model it names.
    pub(crate) fn asked(&self) -> Arc<Asked> {
        Arc::clone(&self.asked)
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

    fn cost(&self, model: &str, reading: &Reading) -> Option<Microcents> {
        let unbilled = self.status >= 400 && self.status != CLIENT_LEFT;
        match reading.tokens {
            _ if self.free => Some(Microcents(0)),
            Some(tokens) => self
                .bill
                .prices
                .cost(model, self.started_at, &tokens, reading.terms),
            None if unbilled => Some(Microcents(0)),
            None => None,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let reading = self.meter.as_ref().map(Meter::reading).unwrap_or_default();
        let model = reading
            .model
            .clone()
            .or_else(|| self.asked.get())
            .unwrap_or_default();
        self.bill.usage.record(Usage {
            client: self.client.clone(),
            path: std::mem::take(&mut self.path),
            status: self.status,
            started_at: self.started_at,
            latency: self.began.elapsed(),
            time_to_first_byte: self.first_byte,
            tokens: if self.free {
                Tokens::default()
            } else {
                reading.tokens.unwrap_or_default()
            },
            cost: self.cost(&model, &reading),
            error: self.error(&reading),
            request_id: self.request_id.take(),
            model,
        });
    }
}
