//! Paths that lead nowhere, and those that the contract has and this server does not serve yet.

use axum::extract::OriginalUri;

use crate::error::ApiError;

/// The first parts of paths that the contract has beyond what is served.
const FAMILIES: &[&str] = &[
    "deployment_runs",
    "deployments",
    "dreams",
    "memory_stores",
    "messages",
    "organizations",
    "skills",
    "tunnels",
    "user_profiles",
    "webhooks",
];

/// What the contract has below a session or environment beyond what is served.
const BELOW: &[(&str, &str)] = &[
    ("sessions", "threads"),
    ("sessions", "resources"),
    ("environments", "work"),
];

/// Answers whatever is below `/v1` and not served.
pub(super) async fn answer(OriginalUri(uri): OriginalUri) -> ApiError {
    let mut parts = uri
        .path()
        .split('/')
        .filter(|part| !part.is_empty())
        .skip(1);
    let (family, below) = (parts.next().unwrap_or(""), parts.nth(1).unwrap_or(""));
    if let Some(family) = FAMILIES.iter().find(|known| **known == family) {
        return ApiError::not_found(format!("this server does not serve {family} yet"));
    }
    if let Some((family, below)) = BELOW.iter().find(|known| **known == (family, below)) {
        return ApiError::not_found(format!(
            "this server does not serve {below} of {family} yet"
        ));
    }
    ApiError::not_found("there is nothing at this path")
}

/// Answers whatever is outside `/v1`.
pub(super) async fn no_such_path() -> ApiError {
    ApiError::not_found("there is nothing at this path; the API is below /v1")
}
