//! `GET /v1/files/{file_id}`

use api::file::FileMetadata;
use axum::Json;
use axum::extract::State;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::Id;
use crate::http::query::Query;

pub(in crate::http) async fn get(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    query: Query,
) -> Result<Json<FileMetadata>, ApiError> {
    query.finish()?;
    let row = super::row(&app, &caller, &id).await?;
    Ok(Json(super::view(row)))
}
