//! Whether the process lives and whether it can serve. Neither needs a key.

use axum::extract::State;

use crate::app::App;
use crate::error::ApiError;

/// The process answers.
pub(super) async fn alive() -> axum::Json<serde_json::Value> {
    axum::Json(serde_json::json!({"status": "ok"}))
}

/// The store can be written and read, and the server is not stopping.
pub(super) async fn ready(
    State(app): State<App>,
) -> Result<axum::Json<serde_json::Value>, ApiError> {
    if app.lifecycle.is_stopping() {
        return Err(ApiError::unavailable("not ready: the server is stopping"));
    }
    if let Err(error) = app.store.ping().await {
        return Err(ApiError::unavailable(format!("not ready: {error}")).caused_by(error));
    }
    Ok(axum::Json(serde_json::json!({"status": "ready"})))
}
