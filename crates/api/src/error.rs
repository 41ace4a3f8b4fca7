//! Refusals: what is wrong with a request, and the body in which the contract says so.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a request is refused with status 400.
///
/// The message is written for the person who sent the request: place, rule, and what was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// One sentence that names the field.
    pub message: String,
    /// `details.error_code`, where the contract names one.
    pub code: Option<&'static str>,
}

impl Invalid {
    /// A refusal without a code of its own.
    pub fn new(message: impl Into<String>) -> Invalid {
        Invalid {
            message: message.into(),
            code: None,
        }
    }

    /// The same refusal with `details.error_code`.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Invalid {
        self.code = Some(code);
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Invalid {}

/// The contract's error types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorType {
    /// 400, and 405: the request itself is wrong.
    InvalidRequestError,
    /// 401.
    AuthenticationError,
    /// 403.
    PermissionError,
    /// 404.
    NotFoundError,
    /// 409.
    ConflictError,
    /// 413.
    RequestTooLarge,
    /// 429.
    RateLimitError,
    /// 408 and 504.
    TimeoutError,
    /// 500.
    ApiError,
    /// 529 and 503.
    OverloadedError,
}

/// An error answer, complete.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Always `error`.
    #[serde(rename = "type")]
    pub kind: ErrorTag,
    /// What went wrong.
    pub error: ErrorDetail,
    /// The request's id, as in the `request-id` header.
    pub request_id: String,
}

crate::literal! {
    /// The `type` of an error answer.
    ErrorTag = "error"
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// The class of the failure.
    #[serde(rename = "type")]
    pub kind: ErrorType,
    /// One sentence for people.
    pub message: String,
    /// Machine readable facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

/// Machine readable facts of an error.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Details {
    /// The contract's code for this failure.
    pub error_code: String,
}
