//! The HTTP surface. A folder per resource, a file per verb; this file is the table of contents.
//!
//! Handlers read a request, ask the store or the sessions, and answer. They never call a provider
//! of sandboxes, and never write a status code or an error body themselves: `error.rs` chooses and
//! `envelope` writes. Every path below `/v1` needs a key, also those that are not served.

pub(crate) mod dedup;

mod agents;
mod envelope;
mod environments;
mod events;
mod extract;
mod files;
mod health;
mod models;
mod query;
mod sessions;
mod unserved;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::app::App;
use crate::error::ApiError;

/// The whole surface.
pub fn router(app: App) -> Router {
    let v1 = Router::new()
        .route(
            "/agents",
            get(agents::list).merge(repeatable(&app, post(agents::create))),
        )
        .route("/agents/{agent_id}", get(agents::get).post(agents::update))
        .route("/agents/{agent_id}/archive", post(agents::archive))
        .route("/agents/{agent_id}/versions", get(agents::versions))
        .route(
            "/environments",
            get(environments::list).merge(repeatable(&app, post(environments::create))),
        )
        .route(
            "/environments/{environment_id}",
            get(environments::get)
                .post(environments::update)
                .delete(environments::delete),
        )
        .route(
            "/environments/{environment_id}/archive",
            post(environments::archive),
        )
        .route(
            "/sessions",
            get(sessions::list).merge(repeatable(&app, post(sessions::create))),
        )
        .route(
            "/sessions/{session_id}",
            get(sessions::get)
                .post(sessions::update)
                .delete(sessions::delete),
        )
        .route("/sessions/{session_id}/archive", post(sessions::archive))
        .route(
            "/sessions/{session_id}/fork",
            repeatable(&app, post(sessions::fork)),
        )
        .route(
            "/sessions/{session_id}/events",
            get(events::list).merge(repeatable(&app, post(events::send))),
        )
        .route("/sessions/{session_id}/events/stream", get(events::stream))
        .route("/sessions/{session_id}/events/ws", get(events::ws))
        .route("/files", get(files::list).post(files::upload))
        .route("/files/{file_id}", get(files::get).delete(files::delete))
        .route("/files/{file_id}/content", get(files::content))
        .route("/models", get(models::list))
        .route("/models/{model_id}", get(models::get))
        .fallback(unserved::answer)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(app.clone(), extract::authenticate));
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .nest("/v1", v1)
        .fallback(unserved::no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(app.config.limits.request_bytes))
        .layer(from_fn_with_state(app.ids.clone(), envelope::wrap))
        .with_state(app)
}

/// A method whose repeated requests get the first answer again.
fn repeatable(
    app: &App,
    method: axum::routing::MethodRouter<App>,
) -> axum::routing::MethodRouter<App> {
    method.layer(from_fn_with_state(app.clone(), dedup::answer_once))
}

async fn method_not_allowed() -> ApiError {
    ApiError::method_not_allowed()
}
