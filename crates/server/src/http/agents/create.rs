//! `POST /v1/agents`

use api::agent::{Agent, CreateAgent};
use api::id::Prefix;
use axum::Json;
use axum::extract::State;
use store::{AgentRow, NewAgent};

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract;
use crate::http::query::Query;

pub(in crate::http) async fn create(
    State(app): State<App>,
    caller: Caller,
    query: Query,
    extract::Json(request): extract::Json<CreateAgent>,
) -> Result<Json<Agent>, ApiError> {
    query.finish()?;
    let (id, at) = (app.ids.mint(Prefix::Agent), app.clock.now());
    let body = serde_json::to_string(&request.definition).map_err(ApiError::internal)?;
    let agent = NewAgent {
        id: id.clone(),
        workspace_id: caller.realm.workspace().to_owned(),
        body: body.clone(),
        created_at: at,
    };
    app.store
        .agents()
        .create(agent)
        .await
        .map_err(ApiError::from)?;
    let row = AgentRow {
        id,
        workspace_id: caller.realm.workspace().to_owned(),
        version: 1,
        body,
        created_at: at,
        updated_at: at,
        archived_at: None,
    };
    super::view(&row).map(Json)
}
