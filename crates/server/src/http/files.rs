//! Files that sessions produced. Nothing is uploaded here yet.

mod content;
mod delete;
mod get;
mod list;

pub(super) use content::content;
pub(super) use delete::delete;
pub(super) use get::get;
pub(super) use list::list;

use api::file::{FileMetadata, FileScope, FileScopeTag, FileTag};
use api::time::Timestamp;
use store::FileRow;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;

/// `POST /v1/files`
pub(super) async fn upload() -> ApiError {
    ApiError::not_found("this server does not serve uploads of files yet")
}

/// The file, when the caller has it.
async fn row(app: &App, caller: &Caller, id: &str) -> Result<FileRow, ApiError> {
    let row = app.store.files().get(&caller.realm, id).await?;
    row.ok_or_else(|| not_found(id))
}

/// The row as clients see it.
fn view(row: FileRow) -> FileMetadata {
    FileMetadata {
        id: row.id,
        kind: FileTag::Value,
        filename: row.filename,
        mime_type: row.mime_type,
        size_bytes: row.size_bytes,
        created_at: Timestamp(row.created_at),
        downloadable: row.downloadable,
        expires_at: None,
        scope: row.session_id.map(|id| FileScope {
            kind: FileScopeTag::Value,
            id,
        }),
    }
}

/// No such file, or somebody else's.
fn not_found(id: &str) -> ApiError {
    ApiError::not_found(format!("no file has the id {}", api::read::quoted(id)))
}
