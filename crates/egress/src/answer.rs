//! Answers that egress gives itself, in the API's error shape, so that clients
//! treat them like the API's own.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use serde_json::json;

/// The body of an answer to the sandbox.
#[allow(
    clippy::large_enum_variant,
    reason = "one per answer, moved a few times"
)]
pub(crate) enum Reply<B> {
    /// Said by egress itself.
    Ours(Full<Bytes>),
    /// Said by whoever was asked.
    Theirs(B),
}

impl<B: Body<Data = Bytes> + Unpin> Body for Reply<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.get_mut() {
            Self::Ours(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Self::Theirs(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ours(body) => body.is_end_stream(),
            Self::Theirs(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ours(body) => body.size_hint(),
            Self::Theirs(body) => body.size_hint(),
        }
    }
}

/// An error that did not come from upstream.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// `error.type` of the API.
    pub(crate) kind: &'static str,
    /// Our own short name of what happened, for the usage record and the log.
    pub(crate) cause: &'static str,
    /// The rule that refused it, which may have a number in its name; else the cause.
    pub(crate) rule: String,
    /// Whether it was refused by a decision; else it failed.
    pub(crate) denies: bool,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(
        status: StatusCode,
        kind: &'static str,
        cause: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            kind,
            cause,
            rule: cause.to_owned(),
            denies: status.is_client_error(),
            message: message.into(),
        }
    }

    /// A decision, although its status says that trying again may help.
    pub(crate) fn denying(mut self) -> Self {
        self.denies = true;
        self
    }

    /// The rule's own name.
    pub(crate) fn by(mut self, rule: String) -> Self {
        self.rule = rule;
        self
    }

    fn body(&self) -> String {
        json!({
            "type": "error",
            "error": { "type": self.kind, "message": self.message },
        })
        .to_string()
    }

    /// The refusal as a response.
    pub(crate) fn response(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body())));
        *response.status_mut() = self.status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }

    /// The refusal as the bytes of a whole HTTP/1.1 response that ends its
    /// connection.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let body = self.body();
        format!(
            "HTTP/1.1 {status}\r\n{CONTENT_TYPE}: application/json\r\n{CONTENT_LENGTH}: {length}\r\n\
             connection: close\r\n\r\n{body}",
            status = self.status,
            length = body.len(),
        )
        .into_bytes()
    }
}
