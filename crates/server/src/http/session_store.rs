//! Transcripts of Agent SDK programs that run elsewhere, under the keys of the SDK's session store. An
//! extension of the contract; the client packages in `sdk/` speak it.

mod append;
mod delete;
mod list;
mod load;
mod subkeys;

pub(super) use append::append;
pub(super) use delete::delete;
pub(super) use list::list;
pub(super) use load::load;
pub(super) use subkeys::subkeys;

use api::error::Invalid;
use api::read::At;
use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use store::KeptKey;

use crate::error::ApiError;
use crate::http::query::Query;

/// A session's key out of the path.
pub(super) struct Key(KeptKey);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Key, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((project, session)) = path.map_err(|_| unreadable())?;
        api::session_store::key(&project, At::root().key("project_key"))?;
        api::session_store::key(&session, At::root().key("session_id"))?;
        Ok(Key(KeptKey { project, session }))
    }
}

fn unreadable() -> ApiError {
    ApiError::invalid("project key and session id must be UTF-8, percent-encoded in the path")
}

/// The file that a query names; empty is the main one.
fn subpath(query: &mut Query) -> Result<String, Invalid> {
    let Some(path) = query.text("subpath")? else {
        return Ok(String::new());
    };
    api::session_store::subpath(&path, At::root().key("subpath"))?;
    Ok(path)
}
