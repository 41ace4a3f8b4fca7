//! `DELETE /v1/environments/{environment_id}`

use api::page::Deleted;
use axum::Json;
use axum::extract::State;
use store::DeleteEnvironmentError;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::Id;
use crate::http::query::Query;

pub(in crate::http) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    query: Query,
) -> Result<Json<Deleted>, ApiError> {
    query.finish()?;
    match app.store.environments().delete(&caller.realm, &id).await {
        Ok(()) => {
            app.sessions.forget_spares(&id);
            Ok(Json(Deleted {
                id,
                kind: "environment_deleted".to_owned(),
            }))
        }
        Err(DeleteEnvironmentError::NotFound) => Err(super::not_found(&id)),
        Err(DeleteEnvironmentError::InUse { sessions }) => {
            let rule = "delete them first, or archive the environment instead";
            Err(ApiError::invalid(format!(
                "the environment is used by {sessions} sessions; {rule}"
            )))
        }
        Err(DeleteEnvironmentError::Store(error)) => Err(error.into()),
    }
}
