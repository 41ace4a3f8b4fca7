//! `POST /v1/session_store/{project_key}/{session_id}`

use api::session_store::{AppendEntries, Appended};
use axum::Json;
use axum::extract::State;
use serde_json::Value;
use store::{Append, AppendError, KeptEntry};

use super::Key;
use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract;
use crate::http::query::Query;

pub(in crate::http) async fn append(
    State(app): State<App>,
    caller: Caller,
    Key(key): Key,
    query: Query,
    extract::Json(request): extract::Json<AppendEntries>,
) -> Result<Json<Appended>, ApiError> {
    query.finish()?;
    let entries = request.entries.into_iter().map(|entry| KeptEntry {
        uuid: entry.uuid().map(str::to_owned),
        body: entry.into_json(),
    });
    let append = Append {
        key,
        subpath: request.subpath.unwrap_or_default(),
        entries: entries.collect(),
        summary: request
            .summary
            .map(|summary| (summary.revision, Value::Object(summary.data).to_string())),
        at: app.clock.now(),
        most: app.config.limits.session_store_bytes,
    };
    let kept = app
        .store
        .session_store()
        .append(&caller.realm, append)
        .await;
    let kept = kept.map_err(refusal)?;
    Ok(Json(Appended {
        mtime: kept.changed_at.timestamp_millis(),
        revision: kept.revision,
    }))
}

fn refusal(error: AppendError) -> ApiError {
    match error {
        AppendError::Outdated { now } => ApiError::conflict(format!(
            "summary: another writer has replaced it, its revision is {now}: fold these entries into \
             that one and send again; nothing was kept"
        )),
        AppendError::Full { most } => ApiError::over_quota(format!(
            "the workspace's session store has its {most} bytes: delete sessions, or raise \
             limits.session_store_bytes; nothing was kept"
        )),
        AppendError::Store(error) => error.into(),
    }
}
