//! `POST /v1/sessions`

use api::environment;
use api::environment::egress::{Action, Rule};
use api::environment::hosting::Pattern;
use api::environment::networking::Networking;
use api::id::Prefix;
use api::session::{CreateSession, Resume, Session, SessionAgent, Stats, Usage};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use store::{CreateSessionError, KeptKey, Queued, SessionRow, Status};

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::query::Query;
use crate::http::{agents, environments, extract, vaults};
use crate::session;

pub(in crate::http) async fn create(
    State(app): State<App>,
    caller: Caller,
    query: Query,
    extract::Json(request): extract::Json<CreateSession>,
) -> Result<Json<Session>, ApiError> {
    query.finish()?;
    let agent = snapshot(&app, &caller, &request).await?;
    let config = configuration(&app, &caller, &request.environment_id).await?;
    check_version(&app, &agent, &config)?;
    check_isolation(&app, &config)?;
    check_vaults(&app, &caller, &request, &config).await?;
    app.sessions
        .admit(caller.realm.workspace(), request.initial_events.len())?;
    let queued = queue(&app, &request);
    let row = row(&app, &caller, &request, &agent, &config)?;
    let shown = super::view(&app, &row)?;
    let (id, waits) = (row.id.clone(), !queued.is_empty());
    let sessions = app.store.sessions();
    let made = match &request.resume {
        None => sessions.create(row, queued).await,
        Some(Resume {
            project_key,
            session_id,
        }) => {
            let key = KeptKey {
                project: project_key.clone(),
                session: session_id.clone(),
            };
            sessions.create_from(row, queued, &caller.realm, key).await
        }
    };
    made.map_err(|error| refusal(error, &request))?;
    if waits {
        app.sessions.wake(&caller.realm, &id);
    }
    Ok(Json(shown))
}

/// The agent as this session uses it.
async fn snapshot(
    app: &App,
    caller: &Caller,
    request: &CreateSession,
) -> Result<SessionAgent, ApiError> {
    let (id, version) = (&request.agent.id, request.agent.version);
    let row = app
        .store
        .agents()
        .get(&caller.realm, id, version)
        .await?
        .ok_or_else(|| agents::not_found(id))?;
    if row.archived_at.is_some() {
        return Err(agent_archived());
    }
    let profile = agents::definition(&row)?.profile;
    Ok(request.agent.clone().snapshot(row.version, profile)?)
}

/// The environment's configuration as it is now.
async fn configuration(
    app: &App,
    caller: &Caller,
    id: &str,
) -> Result<environment::Config, ApiError> {
    let row = app
        .store
        .environments()
        .get(&caller.realm, id)
        .await?
        .ok_or_else(|| environments::not_found(id))?;
    if row.archived_at.is_some() {
        return Err(environment_archived());
    }
    Ok(environments::definition(&row)?.config)
}

/// What the agent and the environment ask of the claude CLI must go together.
fn check_version(
    app: &App,
    agent: &SessionAgent,
    config: &environment::Config,
) -> Result<(), ApiError> {
    let (asked, hosting) = (agent.profile.cli.as_ref(), &config.hosting);
    if hosting.pattern == Pattern::Shared && asked.is_some() && asked != hosting.cli.as_ref() {
        let rule = "agent.cli: the sessions of a `shared` environment run one version of the claude cli; \
                    ask for it in the environment's `config.hosting.cli`";
        return Err(ApiError::invalid(rule));
    }
    let checked = app.sessions.check_version(asked, hosting.cli.as_ref());
    checked.map_err(|error| ApiError::invalid(error.to_string()))
}

/// A session that nobody could isolate as it must be is not made.
fn check_isolation(app: &App, config: &environment::Config) -> Result<(), ApiError> {
    let level = app.sessions.isolation(config.hosting.isolation);
    level.map(drop).map_err(|error| {
        let told = format!("environment_id: config.hosting.isolation.at_least: {error}");
        ApiError::invalid(told).with_code("isolation_unavailable")
    })
}

/// The vaults must be there, and every credential in them of use.
async fn check_vaults(
    app: &App,
    caller: &Caller,
    request: &CreateSession,
    config: &environment::Config,
) -> Result<(), ApiError> {
    if request.vault_ids.is_empty() {
        return Ok(());
    }
    for (index, id) in request.vault_ids.iter().enumerate() {
        let vault = app.store.vaults().get(&caller.realm, id).await?;
        let vault = vault.ok_or_else(|| vaults::not_found(id))?;
        if vault.archived_at.is_some() {
            let told = format!("vault_ids.{index}: the vault is archived");
            return Err(ApiError::invalid(told));
        }
    }
    let names_hosts = match &config.networking {
        Networking::Limited(limited) => !limited.allowed_hosts.is_empty(),
        Networking::Unrestricted => false,
    };
    let by_name = |rule: &Rule| rule.action == Action::Allow && rule.host != "*";
    let names_hosts = names_hosts || config.egress.rules.iter().any(by_name);
    let (workspace, ids) = (caller.realm.workspace(), json(&request.vault_ids)?);
    let checked = app.vaults.check(workspace, &ids, names_hosts).await?;
    checked.map_err(|unnamed| ApiError::invalid(format!("vault_ids: {unnamed}")))
}

fn queue(app: &App, request: &CreateSession) -> Vec<Queued> {
    request
        .initial_events
        .iter()
        .map(|event| session::queued(event, app.ids.mint(Prefix::Event)))
        .collect()
}

fn row(
    app: &App,
    caller: &Caller,
    request: &CreateSession,
    agent: &SessionAgent,
    config: &environment::Config,
) -> Result<SessionRow, ApiError> {
    let at = app.clock.now();
    let id = app.ids.mint(Prefix::Session);
    let status = if request.initial_events.is_empty() {
        Status::Idle
    } else {
        Status::Running
    };
    Ok(SessionRow {
        claude_session: session::uuid_of(&id),
        id,
        workspace_id: caller.realm.workspace().to_owned(),
        agent_id: agent.id.clone(),
        agent_version: agent.version,
        agent: json(agent)?,
        environment_id: request.environment_id.clone(),
        environment: json(config)?,
        vault_ids: json(&request.vault_ids)?,
        title: request.title.clone(),
        metadata: json(&request.metadata)?,
        budget: request.budget.as_ref().map(json).transpose()?,
        status,
        attention: false,
        usage: json(&Usage::default())?,
        stats: json(&Stats::default())?,
        created_at: at,
        updated_at: at,
        archived_at: None,
    })
}

fn json<T: Serialize>(value: &T) -> Result<String, ApiError> {
    serde_json::to_string(value).map_err(ApiError::internal)
}

/// The store looks again in its transaction, because agent and environment may have changed since.
fn refusal(error: CreateSessionError, request: &CreateSession) -> ApiError {
    match error {
        CreateSessionError::AgentNotFound => agents::not_found(&request.agent.id),
        CreateSessionError::AgentArchived => agent_archived(),
        CreateSessionError::EnvironmentNotFound => environments::not_found(&request.environment_id),
        CreateSessionError::EnvironmentArchived => environment_archived(),
        CreateSessionError::TooMany { limit } => {
            ApiError::invalid(format!("initial_events: at most {limit} items"))
        }
        quota @ CreateSessionError::Quota { .. } => super::quota(&quota),
        CreateSessionError::KeptNotFound => {
            ApiError::not_found("resume: the session store has no transcript under this key")
        }
        duplicate @ CreateSessionError::Duplicate => ApiError::internal(duplicate),
        CreateSessionError::Store(error) => error.into(),
    }
}

pub(super) fn agent_archived() -> ApiError {
    ApiError::invalid("agent: the agent is archived and takes no new sessions")
}

pub(super) fn environment_archived() -> ApiError {
    ApiError::invalid("environment_id: the environment is archived and takes no new sessions")
        .with_code("environment_archived")
}
