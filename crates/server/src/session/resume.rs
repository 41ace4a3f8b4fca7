//! From the log to a state: how an actor begins.
//!
//! A session that its last server left in the middle of a turn is recognised by its last status event;
//! everything else begins idle. The transcript decides the rest: claude knows a prompt by its uuid, so a
//! prompt that was handed over is not handed over twice.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use store::{EventRow, QueuedRow, Realm, SessionRow, StoreError};
use tokio::sync::mpsc;

use super::actor::{self, Actor, Asked, Begin, Request};
use super::machine::{Facts, Prompt, State};
use super::tools::{Tool, Tools};
use super::{Bell, Inner, OpenCalls, reach, start, thread_id};
use crate::usage::Opening;

/// Events read from the log in one go.
const PAGE: usize = 500;

/// Why an actor could not begin.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("cannot read the session")]
    Store(#[from] StoreError),
    #[error("cannot claim the session")]
    Claim(#[from] store::ClaimError),
}

/// Loads a session and owns it until there is nothing more to do.
pub async fn run(
    inner: Arc<Inner>,
    realm: &Realm,
    id: &str,
    open: Arc<OpenCalls>,
    inbox: mpsc::Receiver<Request>,
    bell: Arc<Bell>,
) {
    match load(&inner, realm, id, open).await {
        Ok(Some((begin, cut))) => Actor::new(begin).run(inbox, bell, cut).await,
        Ok(None) => {}
        Err(error) => {
            tracing::error!(
                session.id = id,
                error = &error as &dyn std::error::Error,
                "session {id} cannot be taken up; its next event tries again"
            );
        }
    }
}

/// The session and whether its last turn was cut; `None` when there is nothing to own.
async fn load(
    inner: &Arc<Inner>,
    realm: &Realm,
    id: &str,
    open: Arc<OpenCalls>,
) -> Result<Option<(Begin, bool)>, LoadError> {
    let Some(row) = inner.store.sessions().get(realm, id).await? else {
        return Ok(None);
    };
    if row.status == store::Status::Terminated {
        return Ok(None);
    }
    let fence = inner.store.sessions().claim(id, &inner.owner).await?;
    let (state, cut) = fold(inner, &row).await?;
    let agent: Value = serde_json::from_str(&row.agent).unwrap_or_default();
    let environment: Value = serde_json::from_str(&row.environment).unwrap_or_default();
    let budget = row
        .budget
        .as_deref()
        .and_then(|budget| serde_json::from_str(budget).ok());
    let limits = start::hosting(&row).limits;
    let opening = Opening {
        session: id,
        workspace: &row.workspace_id,
        agent: &row.agent_id,
        environment: &row.environment_id,
        policy: reach::policy(&environment, &agent),
        budget: budget.as_ref(),
        max_cost: limits.max_cost.as_ref(),
    };
    let book = inner.ledger.open(opening).await?;
    // After the book is open, so that a change that is made meanwhile reaches it one way or the other.
    let environments = inner.store.environments();
    if let Some(now) = environments.get(realm, &row.environment_id).await? {
        inner.environment_says(&now, Some(id));
    }
    inner.bind(id, &row.workspace_id).await?;
    let feed = inner.feed(id);
    Ok(Some((
        Begin {
            inner: inner.clone(),
            row,
            fence,
            state,
            feed,
            open,
            book,
        },
        cut,
    )))
}

/// What the log says of the last turn.
#[derive(Default)]
struct Fold {
    cut: bool,
    prompt: Option<Prompt>,
    open: HashMap<String, Tool>,
    /// The start of a model request that has not ended.
    request: Option<String>,
}

async fn fold(inner: &Inner, row: &SessionRow) -> Result<(State, bool), StoreError> {
    let agent: Value = serde_json::from_str(&row.agent).unwrap_or_default();
    let facts = Facts {
        agent_name: agent["name"].as_str().unwrap_or_default().to_owned(),
        thread_id: thread_id(&row.id),
        tools: Tools::of(&agent),
        max_tool_calls: start::hosting(row).limits.max_tool_calls,
    };
    // The row says whether it is worth reading the log: an idle session that asks for nothing was not cut.
    if row.status == store::Status::Idle && !row.attention {
        return Ok((State::new(facts), false));
    }
    let mut fold = Fold::default();
    let mut after = 0;
    loop {
        let page = inner.store.events().tail(&row.id, after, PAGE).await?;
        for event in &page {
            fold.event(event);
            after = event.seq;
        }
        if page.len() < PAGE {
            break;
        }
    }
    let Fold {
        cut,
        prompt,
        open,
        request,
    } = fold;
    match cut {
        false => Ok((State::new(facts), false)),
        true => Ok((
            State::cut(facts, prompt, open.into_iter().collect(), request),
            true,
        )),
    }
}

impl Fold {
    fn event(&mut self, event: &EventRow) {
        let body = || serde_json::from_str::<Value>(&event.body).unwrap_or_default();
        match event.kind.as_str() {
            "session.status_running" | "session.status_rescheduled" => self.cut = true,
            // One that waits for an answer is still in its turn.
            "session.status_idle" if body()["stop_reason"]["type"] != "requires_action" => {
                *self = Fold::default();
            }
            "user.message" => {
                let row = QueuedRow {
                    position: 0,
                    id: event.id.clone(),
                    kind: event.kind.clone(),
                    body: event.body.clone(),
                };
                if let Some(Asked::Prompt(prompt)) = actor::asked(&row) {
                    self.prompt = Some(prompt);
                }
            }
            "agent.tool_use" => self.opened(event, Tool::BuiltIn(String::new())),
            "agent.mcp_tool_use" => self.opened(
                event,
                Tool::Mcp {
                    server: String::new(),
                    name: String::new(),
                },
            ),
            "span.model_request_start" => self.request = Some(event.id.clone()),
            "span.model_request_end" => self.request = None,
            "agent.tool_result" => self.closed(&body()["tool_use_id"]),
            "agent.mcp_tool_result" => self.closed(&body()["mcp_tool_use_id"]),
            _ => {}
        }
    }

    fn opened(&mut self, event: &EventRow, tool: Tool) {
        self.open.insert(event.id.clone(), tool);
    }

    fn closed(&mut self, id: &Value) {
        if let Some(id) = id.as_str() {
            self.open.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::json;

    use super::*;

    fn fold(events: &[(&str, &str, Value)]) -> Fold {
        let mut fold = Fold::default();
        for (seq, (id, kind, body)) in events.iter().enumerate() {
            let mut body = body.clone();
            body["type"] = json!(kind);
            let body = body.to_string().into();
            fold.event(&EventRow {
                seq: seq as i64 + 1,
                id: (*id).into(),
                kind: (*kind).into(),
                processed_at: DateTime::UNIX_EPOCH,
                body,
            });
        }
        fold
    }

    fn message(id: &'static str) -> (&'static str, &'static str, Value) {
        (
            id,
            "user.message",
            json!({"content": [{"type": "text", "text": "hi"}]}),
        )
    }

    fn idle(reason: &str) -> (&'static str, &'static str, Value) {
        (
            "e",
            "session.status_idle",
            json!({"stop_reason": {"type": reason}}),
        )
    }

    const RUNNING: (&str, &str, Value) = ("r", "session.status_running", Value::Null);

    #[test]
    fn a_finished_turn_was_not_cut() {
        let fold = fold(&[("r", RUNNING.1, json!({})), message("m1"), idle("end_turn")]);
        assert!(!fold.cut && fold.prompt.is_none());
    }

    #[test]
    fn a_cut_turn_has_its_prompt_and_its_open_calls() {
        let call = |id: &'static str| (id, "agent.tool_use", json!({"name": "bash"}));
        let result = ("x", "agent.tool_result", json!({"tool_use_id": "c1"}));
        let events = [
            ("r", RUNNING.1, json!({})),
            message("m1"),
            idle("end_turn"),
            ("r", RUNNING.1, json!({})),
            message("m2"),
            call("c1"),
            result,
            call("c2"),
        ];
        let fold = fold(&events);
        assert!(fold.cut);
        assert_eq!(fold.prompt.unwrap().event_id, "m2");
        assert_eq!(fold.open.keys().collect::<Vec<_>>(), ["c2"]);
    }

    #[test]
    fn a_turn_that_waits_for_an_answer_is_cut_too() {
        let fold = fold(&[
            ("r", RUNNING.1, json!({})),
            message("m1"),
            idle("requires_action"),
        ]);
        assert!(fold.cut && fold.prompt.is_some());
    }
}
