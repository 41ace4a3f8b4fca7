//! The HTTP surface. A folder per resource, a file per verb; this file is the table of contents.
//!
//! Handlers read a request, ask the store or the sessions, and answer. They never call a provider
//! of sandboxes, and never write a status code or an error body themselves: `error.rs` chooses and
//! `envelope` writes. Every path below `/v1` needs a key, also those that are not served, and beside
//! each that is served stands what the key must be good for.

pub(crate) mod dedup;

mod agents;
mod api_keys;
mod audit;
mod cors;
mod credentials;
mod envelope;
mod environments;
mod events;
mod extract;
mod files;
mod health;
mod models;
mod pass;
mod query;
mod route;
mod session_store;
mod sessions;
mod unserved;
mod vaults;
mod workspaces;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use http::Method;

use crate::app::App;
use crate::auth::Need::{Administer, Operate, Read, Work};
use crate::error::ApiError;
pub use route::Line;
use route::{Route, route};

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const DELETE: Method = Method::DELETE;

/// Everything that is served below `/v1`.
fn routes() -> Vec<Route> {
    let agents = [
        route(GET, "/agents", Read, agents::list),
        route(POST, "/agents", Administer, agents::create).repeatable(),
        route(GET, "/agents/{agent_id}", Read, agents::get),
        route(POST, "/agents/{agent_id}", Administer, agents::update),
        route(
            POST,
            "/agents/{agent_id}/archive",
            Administer,
            agents::archive,
        ),
        route(GET, "/agents/{agent_id}/versions", Read, agents::versions),
    ];
    let one = "/environments/{environment_id}";
    let archive = "/environments/{environment_id}/archive";
    let environments = [
        route(GET, "/environments", Read, environments::list),
        route(POST, "/environments", Administer, environments::create).repeatable(),
        route(GET, one, Read, environments::get),
        route(POST, one, Administer, environments::update),
        route(DELETE, one, Administer, environments::delete),
        route(POST, archive, Administer, environments::archive),
    ];
    let events = "/sessions/{session_id}/events";
    let sessions = [
        route(GET, "/sessions", Read, sessions::list),
        route(POST, "/sessions", Work, sessions::create).repeatable(),
        route(GET, "/sessions/{session_id}", Read, sessions::get),
        route(POST, "/sessions/{session_id}", Work, sessions::update),
        route(DELETE, "/sessions/{session_id}", Work, sessions::delete),
        route(
            POST,
            "/sessions/{session_id}/archive",
            Work,
            sessions::archive,
        ),
        route(POST, "/sessions/{session_id}/fork", Work, sessions::fork).repeatable(),
        route(GET, events, Read, events::list),
        route(POST, events, Work, events::send).repeatable(),
        route(
            GET,
            "/sessions/{session_id}/events/stream",
            Read,
            events::stream,
        ),
        route(GET, "/sessions/{session_id}/events/ws", Read, events::ws),
    ];
    let files = [
        route(GET, "/files", Read, files::list),
        route(POST, "/files", Work, files::upload),
        route(GET, "/files/{file_id}", Read, files::get),
        route(DELETE, "/files/{file_id}", Work, files::delete),
        route(GET, "/files/{file_id}/content", Read, files::content),
    ];
    let audit = [route(GET, "/audit", Read, audit::list)];
    let kept = "/session_store/{project_key}/{session_id}";
    let session_store = [
        route(
            GET,
            "/session_store/{project_key}",
            Read,
            session_store::list,
        ),
        route(GET, kept, Read, session_store::load),
        route(POST, kept, Work, session_store::append),
        route(DELETE, kept, Work, session_store::delete),
        route(
            GET,
            "/session_store/{project_key}/{session_id}/subkeys",
            Read,
            session_store::subkeys,
        ),
    ];
    let models = [
        route(GET, "/models", Read, models::list),
        route(GET, "/models/{model_id}", Read, models::get),
    ];
    let workspaces = [
        route(GET, "/workspaces", Administer, workspaces::list),
        route(POST, "/workspaces", Operate, workspaces::create).repeatable(),
        route(
            GET,
            "/workspaces/{workspace_id}",
            Administer,
            workspaces::get,
        ),
        route(
            POST,
            "/workspaces/{workspace_id}",
            Operate,
            workspaces::update,
        ),
    ];
    // Not repeatable: an answer with a key in it is not kept for anybody.
    let api_keys = [
        route(GET, "/api_keys", Administer, api_keys::list),
        route(POST, "/api_keys", Administer, api_keys::create),
        route(GET, "/api_keys/{api_key_id}", Administer, api_keys::get),
        route(
            POST,
            "/api_keys/{api_key_id}/rotate",
            Administer,
            api_keys::rotate,
        ),
        route(
            POST,
            "/api_keys/{api_key_id}/revoke",
            Administer,
            api_keys::revoke,
        ),
    ];
    let vault = "/vaults/{vault_id}";
    let of_vault = "/vaults/{vault_id}/credentials";
    let credential = "/vaults/{vault_id}/credentials/{credential_id}";
    let archive_credential = "/vaults/{vault_id}/credentials/{credential_id}/archive";
    let validate = "/vaults/{vault_id}/credentials/{credential_id}/mcp_oauth_validate";
    let vaults = [
        route(GET, "/vaults", Read, vaults::list),
        route(POST, "/vaults", Administer, vaults::create).repeatable(),
        route(GET, vault, Read, vaults::get),
        route(POST, vault, Administer, vaults::update),
        route(DELETE, vault, Administer, vaults::delete),
        route(
            POST,
            "/vaults/{vault_id}/archive",
            Administer,
            vaults::archive,
        ),
        route(GET, of_vault, Read, credentials::list),
        route(POST, of_vault, Administer, credentials::create).repeatable(),
        route(GET, credential, Read, credentials::get),
        route(POST, credential, Administer, credentials::update),
        route(DELETE, credential, Administer, credentials::delete),
        route(POST, archive_credential, Administer, credentials::archive),
        route(POST, validate, Administer, credentials::validate),
    ];
    let mut all = Vec::from(agents);
    all.extend(vaults);
    all.extend(environments);
    all.extend(sessions);
    all.extend(files);
    all.extend(audit);
    all.extend(session_store);
    all.extend(models);
    all.extend(workspaces);
    all.extend(api_keys);
    all
}

/// The table of contents, for whoever walks it: a test that tries every key on every route.
#[must_use]
pub fn contents() -> Vec<Line> {
    routes().into_iter().map(|route| route.line).collect()
}

/// The whole surface.
pub fn router(app: App) -> Router {
    let v1 = routes()
        .into_iter()
        .fold(Router::new(), |router, route| route.add(router, &app))
        .fallback(unserved::answer)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(app.clone(), extract::authenticate));
    let mut all = Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .nest("/v1", v1)
        .fallback(unserved::no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(app.config.limits.request_bytes));
    if !app.config.cors.origins.is_empty() {
        all = all.layer(from_fn_with_state(app.clone(), cors::answer));
    }
    all.layer(from_fn_with_state(app.ids.clone(), envelope::wrap))
        .with_state(app)
}

async fn method_not_allowed() -> ApiError {
    ApiError::method_not_allowed()
}
