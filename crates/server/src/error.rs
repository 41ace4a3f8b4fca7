//! Refusals and failures as answers: every status code is chosen in this file.
//!
//! A handler returns an [`ApiError`]; `http/envelope.rs` is the one place that turns it into bytes,
//! because only there the request's id is known. What a client reads is the message; the cause
//! below it stays in the log.

use std::error::Error as StdError;
use std::time::Duration;

use api::error::{Details, ErrorBody, ErrorDetail, ErrorTag, ErrorType, Invalid};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode};
use store::{InsertError, ListError, StoreError};

use crate::tenants::TooFast;
use crate::vaults::ChangeError;

/// An answer that is not a success.
#[derive(Debug)]
pub struct ApiError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    status: StatusCode,
    kind: ErrorType,
    message: String,
    code: Option<&'static str>,
    /// What `x-should-retry` says, where the client's own table would be wrong.
    retry: Option<bool>,
    /// What `retry-after` says, if anything.
    wait: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl ApiError {
    fn new(status: StatusCode, kind: ErrorType, message: impl Into<String>) -> ApiError {
        let message = message.into();
        ApiError(Box::new(Inner {
            status,
            kind,
            message,
            code: None,
            retry: None,
            wait: None,
            source: None,
        }))
    }

    /// 400.
    pub fn invalid(message: impl Into<String>) -> ApiError {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            ErrorType::InvalidRequestError,
            message,
        )
    }

    /// 401.
    pub fn unauthenticated(message: impl Into<String>) -> ApiError {
        ApiError::new(
            StatusCode::UNAUTHORIZED,
            ErrorType::AuthenticationError,
            message,
        )
    }

    /// 403.
    pub fn forbidden(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, ErrorType::PermissionError, message)
    }

    /// 404: absent, or somebody else's, which looks the same.
    pub fn not_found(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, ErrorType::NotFoundError, message)
    }

    /// 405; the `allow` header is the router's part.
    pub fn method_not_allowed() -> ApiError {
        let message = "this path does not take this method; see the allow header";
        ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            ErrorType::InvalidRequestError,
            message,
        )
    }

    /// 408: the request took too long to arrive.
    pub fn too_slow(patience: Duration) -> ApiError {
        let message = format!(
            "the request body did not arrive within {} ms",
            patience.as_millis()
        );
        ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            ErrorType::InvalidRequestError,
            message,
        )
    }

    /// 409 that stays one however often it is repeated, which clients are told.
    pub fn conflict(message: impl Into<String>) -> ApiError {
        let mut error = ApiError::new(StatusCode::CONFLICT, ErrorType::ConflictError, message);
        error.0.retry = Some(false);
        error
    }

    /// 413.
    pub fn too_large(limit: usize) -> ApiError {
        let message = format!("the request body is larger than {limit} bytes");
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            ErrorType::RequestTooLarge,
            message,
        )
    }

    /// 429: the caller is ahead of what it talks to, and may try again in a moment.
    pub fn too_many(message: impl Into<String>) -> ApiError {
        ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            ErrorType::RateLimitError,
            message,
        )
    }

    /// 429 with the time after which it makes sense to try again.
    pub fn too_fast(message: impl Into<String>, wait: Duration) -> ApiError {
        let mut error = ApiError::too_many(message);
        error.0.wait = Some(wait);
        error
    }

    /// 429 that stays one until something ends, which clients are told.
    pub fn over_quota(message: impl Into<String>) -> ApiError {
        let mut error = ApiError::too_many(message);
        error.0.retry = Some(false);
        error
    }

    /// 529: the server cannot do it now, and may later.
    pub fn overloaded(message: impl Into<String>) -> ApiError {
        let status = StatusCode::from_u16(529).expect("529 is a status code");
        ApiError::new(status, ErrorType::OverloadedError, message)
    }

    /// 503, the status that probes of load balancers understand.
    pub fn unavailable(message: impl Into<String>) -> ApiError {
        ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorType::OverloadedError,
            message,
        )
    }

    /// 500: the client learns nothing but the request's id; `source` goes to the log.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> ApiError {
        let message =
            "the server failed to handle this request; its log has more under the request id";
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            ErrorType::ApiError,
            message,
        )
        .caused_by(source)
    }

    /// The same with `details.error_code`.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> ApiError {
        self.0.code = Some(code);
        self
    }

    /// The same with a cause for the log.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> ApiError {
        self.0.source = Some(source.into());
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What the client is told.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The whole chain of causes in one line, for the log.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut line = self.0.message.clone();
        let mut cause: Option<&dyn StdError> = self
            .0
            .source
            .as_ref()
            .map(|source| &**source as &dyn StdError);
        while let Some(error) = cause {
            line = format!("{line}: {error}");
            cause = error.source();
        }
        line
    }

    /// The body in the contract's shape.
    #[must_use]
    pub fn body(&self, request_id: &str) -> ErrorBody {
        let details = self.0.code.map(|code| Details {
            error_code: code.to_owned(),
        });
        ErrorBody {
            kind: ErrorTag::Value,
            error: ErrorDetail {
                kind: self.0.kind,
                message: self.0.message.clone(),
                details,
            },
            request_id: request_id.to_owned(),
        }
    }

    /// What `retry-after` says, in whole seconds, if anything.
    #[must_use]
    pub fn wait(&self) -> Option<HeaderValue> {
        let seconds = |wait: Duration| wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.0.wait.map(|wait| HeaderValue::from(seconds(wait)))
    }

    /// What `x-should-retry` says, if anything.
    #[must_use]
    pub fn retry(&self) -> Option<HeaderValue> {
        self.0
            .retry
            .map(|retry| HeaderValue::from_static(if retry { "true" } else { "false" }))
    }
}

/// Carries the error to the envelope, which writes the body.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(std::sync::Arc::new(self));
        response
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> ApiError {
        let error = ApiError::invalid(invalid.message);
        match invalid.code {
            Some(code) => error.with_code(code),
            None => error,
        }
    }
}

impl From<TooFast> for ApiError {
    fn from(error: TooFast) -> ApiError {
        ApiError::too_fast(error.to_string(), error.wait)
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> ApiError {
        match error {
            // Whoever knows what was asked for says more.
            ChangeError::NotFound => ApiError::not_found(error.to_string()),
            ChangeError::Archived => {
                ApiError::invalid("the credential is archived and cannot be changed")
            }
            ChangeError::Invalid(invalid) => invalid.into(),
            ChangeError::Busy => ApiError::too_many(error.to_string()),
            ChangeError::Store(error) => error.into(),
            ChangeError::Sealed(_) | ChangeError::Unreadable(_) => ApiError::internal(error),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        if error.is_transient() {
            return ApiError::overloaded(format!("nothing was stored: {error}")).caused_by(error);
        }
        ApiError::internal(error)
    }
}

impl From<InsertError> for ApiError {
    fn from(error: InsertError) -> ApiError {
        match error {
            InsertError::Store(error) => error.into(),
            // Ids are random, so that one which is taken is a fault of this server.
            duplicate @ InsertError::Duplicate => ApiError::internal(duplicate),
        }
    }
}

impl From<ListError> for ApiError {
    fn from(error: ListError) -> ApiError {
        match error {
            ListError::Cursor(error) => ApiError::invalid(format!("page: {error}")),
            ListError::Store(error) => error.into(),
        }
    }
}
