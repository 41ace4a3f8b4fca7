//! `GET /v1/files/{file_id}/content`: the bytes, streamed from the disk.
//!
//! What a session wrote is nothing that this server vouches for, so no browser is let to run it.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use store::FileRow;
use tokio_util::io::ReaderStream;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::Id;
use crate::http::query::Query;

/// Read from the disk and given to the socket at once. The next piece is read when the socket has
/// room, so a slow reader costs this much.
const PIECE: usize = 64 * 1024;

pub(in crate::http) async fn content(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    query: Query,
) -> Result<Response, ApiError> {
    query.finish()?;
    let row = super::row(&app, &caller, &id).await?;
    if !row.downloadable {
        let rule = "the content of this file is not for clients";
        return Err(ApiError::invalid(rule).with_code("file_not_downloadable"));
    }
    let file = app.blobs.open(&id).await.map_err(ApiError::internal)?;
    let mime = HeaderValue::from_str(&row.mime_type)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    Response::builder()
        .header(CONTENT_TYPE, mime)
        .header(CONTENT_LENGTH, row.size_bytes)
        .header(CONTENT_DISPOSITION, disposition(&row))
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .body(Body::from_stream(ReaderStream::with_capacity(file, PIECE)))
        .map_err(ApiError::internal)
}

/// The name to save it under, in the encoding of RFC 8187, which takes every name.
fn disposition(row: &FileRow) -> String {
    let name = row.filename.rsplit('/').next().unwrap_or_default();
    let mut header = "attachment; filename*=UTF-8''".to_owned();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                header.push(char::from(byte));
            }
            _ => header.push_str(&format!("%{byte:02X}")),
        }
    }
    header
}
