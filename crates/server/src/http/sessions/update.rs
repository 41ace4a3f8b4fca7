//! `POST /v1/sessions/{session_id}`
//!
//! Merges the request into the session as it is and hands the whole change to the session's owner,
//! who stores it together with the event that shows it.

use api::event::Body;
use api::metadata::Metadata;
use api::money::BudgetLimit;
use api::patch::Patch;
use api::session::{Session, UpdateSession};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use store::SessionUpdate;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::http::extract::{self, Id};
use crate::http::query::Query;
use crate::session::SessionChange;

pub(in crate::http) async fn update(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    query: Query,
    extract::Json(request): extract::Json<UpdateSession>,
) -> Result<Json<Session>, ApiError> {
    query.finish()?;
    let row = app
        .store
        .sessions()
        .get(&caller.realm, &id)
        .await?
        .ok_or_else(|| super::not_found(&id))?;
    let session = super::view(&app, &row)?;
    let Some(change) = merge(&session, request)? else {
        return Ok(Json(session));
    };
    let changed = app.sessions.update(&caller.realm, &id, change).await;
    let row = changed.map_err(|error| super::refusal(error, &id, "changed"))?;
    super::view(&app, &row).map(Json)
}

/// What is different after the request; `None` when nothing is.
fn merge(session: &Session, request: UpdateSession) -> Result<Option<SessionChange>, ApiError> {
    let mut change = Change::default();
    change.title(session, request.title)?;
    if let Some(patch) = request.metadata {
        let mut metadata = session.metadata.clone();
        patch.apply(&mut metadata)?;
        change.metadata(session, &metadata)?;
    }
    if let Some(patch) = request.agent {
        let agent = patch.apply(&session.agent)?;
        if agent != session.agent {
            change.update.agent = Some(json(&agent)?);
            change.agent = Some(value(&agent)?);
        }
    }
    change.budget(session, request.budget)?;
    Ok(change.finish())
}

/// The change as the store takes it, and as the event shows it.
#[derive(Default)]
struct Change {
    update: SessionUpdate,
    agent: Option<Value>,
    title: Option<Value>,
    metadata: Option<Value>,
    budget: Option<Value>,
    changed: bool,
}

impl Change {
    fn title(&mut self, session: &Session, patch: Patch<String>) -> Result<(), ApiError> {
        let mut title = session.title.clone();
        patch.apply(&mut title);
        if title != session.title {
            self.title = Some(value(&title)?);
            self.update.title = Some(title);
        }
        Ok(())
    }

    fn metadata(&mut self, session: &Session, metadata: &Metadata) -> Result<(), ApiError> {
        if *metadata != session.metadata {
            self.update.metadata = Some(json(metadata)?);
            // The contract leaves the map out when it was cleared.
            self.metadata = (!metadata.is_empty())
                .then(|| value(metadata))
                .transpose()?;
            self.changed = true;
        }
        Ok(())
    }

    fn budget(&mut self, session: &Session, patch: Patch<BudgetLimit>) -> Result<(), ApiError> {
        let budget = match patch {
            Patch::Absent => return Ok(()),
            Patch::Null => None,
            Patch::Value(budget) => Some(budget),
        };
        if budget == session.budget {
            return Ok(());
        }
        if let Some(budget) = &budget {
            check_budget(session, budget)?;
        }
        self.budget = Some(value(&budget)?);
        self.update.budget = Some(budget.as_ref().map(json).transpose()?);
        Ok(())
    }

    fn finish(self) -> Option<SessionChange> {
        let Change {
            update,
            agent,
            title,
            metadata,
            budget,
            changed,
        } = self;
        let changed = changed || agent.is_some() || title.is_some() || budget.is_some();
        let shown = Body::SessionUpdated {
            agent,
            title,
            metadata,
            budget,
        };
        changed.then_some(SessionChange { update, shown })
    }
}

/// A budget is raised or lowered, never introduced later, and always leaves something to spend.
fn check_budget(session: &Session, budget: &BudgetLimit) -> Result<(), ApiError> {
    if session.budget.is_none() {
        let rule = "budget_create_only: budget: this session has none, and one can only be set at creation";
        return Err(ApiError::invalid(rule).with_code("budget_create_only"));
    }
    let used = session
        .usage
        .list_cost
        .as_ref()
        .map_or(0, api::money::MonetaryAmount::cents);
    if budget.max_list_cost.cents() <= used {
        let rule = format!(
            "budget_not_raised: budget: must be above the {used} cents that the session has used"
        );
        return Err(ApiError::invalid(rule).with_code("budget_not_raised"));
    }
    Ok(())
}

fn json<T: Serialize>(content: &T) -> Result<String, ApiError> {
    serde_json::to_string(content).map_err(ApiError::internal)
}

fn value<T: Serialize>(content: &T) -> Result<Value, ApiError> {
    serde_json::to_value(content).map_err(ApiError::internal)
}
