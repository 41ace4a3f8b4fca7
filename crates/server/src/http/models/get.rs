//! `GET /v1/models/{model_id}`

use api::model::ModelInfo;
use api::read::quoted;
use axum::Json;

use super::table;
use crate::error::ApiError;
use crate::http::extract::Id;
use crate::http::query::Query;

pub(in crate::http) async fn get(Id(id): Id, query: Query) -> Result<Json<ModelInfo>, ApiError> {
    query.finish()?;
    let model = table::find(&id);
    model
        .map(Json)
        .ok_or_else(|| ApiError::not_found(format!("no model has the id {}", quoted(&id))))
}
