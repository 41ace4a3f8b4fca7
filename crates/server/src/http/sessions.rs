//! Sessions: one resumable conversation each. Their events are in `events`.

mod archive;
mod create;
mod delete;
mod fork;
mod get;
mod list;
mod update;
mod view;

pub(super) use archive::archive;
pub(super) use create::create;
pub(super) use delete::delete;
pub(super) use fork::fork;
pub(super) use get::get;
pub(super) use list::list;
pub(super) use update::update;
pub use view::view;

use crate::error::ApiError;
use crate::session::ChangeError;

/// No such session, or somebody else's.
pub(super) fn not_found(id: &str) -> ApiError {
    ApiError::not_found(format!("no session has the id {}", api::read::quoted(id)))
}

/// The workspace has as many sessions as it may have. Waiting does not help, so clients do not retry.
fn quota(quota: &store::CreateSessionError) -> ApiError {
    ApiError::over_quota(format!(
        "{quota}; archive or delete some, or ask for a higher limit"
    ))
}

/// Why a session was not `done` (archived, deleted, changed, read).
pub(super) fn refusal(error: ChangeError, id: &str, done: &str) -> ApiError {
    match error {
        ChangeError::NotFound => not_found(id),
        ChangeError::Running => ApiError::invalid(format!(
            "the session is running and cannot be {done} now; send a user.interrupt and wait until it is idle"
        )),
        ChangeError::Over => {
            ApiError::invalid(format!("the session is terminated and cannot be {done}"))
        }
        ChangeError::Store(error) => error.into(),
    }
}
