//! `POST /v1/environments`

use api::environment::{CreateEnvironment, Environment};
use api::id::Prefix;
use axum::Json;
use axum::extract::State;
use store::{EnvironmentRow, NewEnvironment};

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract;
use crate::http::query::Query;

pub(in crate::http) async fn create(
    State(app): State<App>,
    caller: Caller,
    query: Query,
    extract::Json(request): extract::Json<CreateEnvironment>,
) -> Result<Json<Environment>, ApiError> {
    query.finish()?;
    let (id, at) = (app.ids.mint(Prefix::Environment), app.clock.now());
    let body = serde_json::to_string(&request.definition).map_err(ApiError::internal)?;
    let environment = NewEnvironment {
        id: id.clone(),
        workspace_id: caller.realm.workspace().to_owned(),
        body: body.clone(),
        keep: super::keep(&request.definition),
        created_at: at,
    };
    app.store
        .environments()
        .create(environment)
        .await
        .map_err(ApiError::from)?;
    let row = EnvironmentRow {
        id,
        workspace_id: caller.realm.workspace().to_owned(),
        revision: 1,
        body,
        created_at: at,
        updated_at: at,
        archived_at: None,
    };
    super::view(&row).map(Json)
}
