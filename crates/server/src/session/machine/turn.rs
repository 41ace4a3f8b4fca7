//! How a turn ends, or begins again after a loss, and what clients see of it.

use api::event::{Body, ErrorKind, RetryStatus, StopReason};
use serde_json::{Value, json};

use super::{Call, Effect, Entry, INTERRUPTED, Out, RESTARTS, State, Status, Tell, Turn};
use crate::session::tools::Tool;
use crate::session::translate::Outcome;

impl State {
    /// Claude owes nothing more: the turn is over, and the next prompt begins.
    pub(super) fn claude_idle(&mut self, out: &mut Out<'_>) {
        // Without either this is the state that claude reports when it has just started.
        let over = |turn: &Turn| turn.outcome.is_some() || turn.prompt_done;
        if !self.turn.as_ref().is_some_and(over) {
            return;
        }
        let reason = self.turn.as_ref().and_then(|turn| turn.limit.clone());
        let turn = self.close_turn(reason.as_deref().unwrap_or(INTERRUPTED), out);
        if let Some(limit) = turn.limit {
            return self.limited(limit, out);
        }
        let outcome = turn.outcome.unwrap_or(Outcome::Done);
        self.finished = outcome == Outcome::Done && !turn.interrupted && !self.budget_reached;
        let stop_reason = self.stop_reason(outcome, turn.interrupted, out);
        self.end(stop_reason, out);
    }

    /// A model call was refused for money. Said once in a turn, which ends when claude gives up.
    pub(super) fn budget_reached(&mut self, why: Option<String>, out: &mut Out<'_>) {
        let told = std::mem::replace(&mut self.budget_reached, true);
        if let (false, Some(why)) = (told, why) {
            out.error(ErrorKind::BillingError, why, RetryStatus::Exhausted);
        }
    }

    /// The turn hit one of its own limits: claude is told to stop, and the turn ends when it has.
    pub(super) fn limit_turn(&mut self, message: String, out: &mut Out<'_>) {
        let Some(turn) = self.turn.as_mut().filter(|turn| !turn.interrupted) else {
            return;
        };
        turn.interrupted = true;
        turn.asks.clear();
        turn.limit = Some(message);
        // Unless it waited for a client, it works already.
        self.run(out);
        out.tell(Tell::Interrupt);
    }

    /// Ends a turn that hit one of its own limits.
    fn limited(&mut self, message: String, out: &mut Out<'_>) {
        out.error(
            ErrorKind::ToolUseLimitReachedError,
            message,
            RetryStatus::Exhausted,
        );
        self.end(StopReason::RetriesExhausted, out);
    }

    pub(super) fn stop_reason(
        &self,
        outcome: Outcome,
        interrupted: bool,
        out: &mut Out<'_>,
    ) -> StopReason {
        match outcome {
            _ if interrupted => StopReason::EndTurn,
            _ if self.budget_reached => StopReason::BudgetReached,
            Outcome::Done => StopReason::EndTurn,
            Outcome::Refused => StopReason::Refusal,
            Outcome::Budget => StopReason::BudgetReached,
            Outcome::TooManyRounds { message } => {
                out.error(
                    ErrorKind::ToolUseLimitReachedError,
                    format!("{message}; the limit is max_turns of the environment or the server"),
                    RetryStatus::Exhausted,
                );
                StopReason::RetriesExhausted
            }
            Outcome::WindowFull { message } => {
                out.error(
                    ErrorKind::CompactionLimitReachedError,
                    message,
                    RetryStatus::Exhausted,
                );
                StopReason::RetriesExhausted
            }
            Outcome::Failed { status, message } => {
                out.error(error_kind(status), message, RetryStatus::Exhausted);
                StopReason::RetriesExhausted
            }
        }
    }

    pub(super) fn lost(&mut self, why: &str, again: bool, out: &mut Out<'_>) {
        self.started = false;
        let Some(turn) = &self.turn else { return };
        if let Some(limit) = turn.limit.clone() {
            self.close_turn(&limit, out);
            return self.limited(limit, out);
        }
        if turn.interrupted {
            self.close_turn(INTERRUPTED, out);
            return self.end(StopReason::EndTurn, out);
        }
        if turn.outcome.is_some() {
            return self.claude_idle(out);
        }
        if again && turn.restarts < RESTARTS && turn.prompt.is_some() {
            return self.restart(why, out);
        }
        self.close_turn(&format!("The tool's result was lost: {why}"), out);
        out.error(
            ErrorKind::UnknownError,
            why.to_owned(),
            RetryStatus::Exhausted,
        );
        self.end(StopReason::RetriesExhausted, out);
    }

    /// The next claude is told what the last one was told as it ended. It had said nothing of it, so
    /// there is nothing that clients should see.
    pub(super) fn recycled(&mut self, out: &mut Out<'_>) {
        self.started = false;
        let Some(turn) = &self.turn else { return };
        let over = turn.interrupted || turn.limit.is_some() || turn.outcome.is_some();
        match turn.prompt.clone().filter(|_| !over) {
            Some(prompt) => {
                self.started = true;
                out.effects.push(Effect::Start { interrupted: true });
                out.tell(Tell::Prompt(prompt));
            }
            None => self.lost("claude was started anew", true, out),
        }
    }

    /// Begins the turn again in a new sandbox, from the transcript as far as it was mirrored.
    pub(super) fn restart(&mut self, why: &str, out: &mut Out<'_>) {
        let turn = self.close_turn(&format!("The tool's result was lost: {why}"), out);
        out.error(
            ErrorKind::UnknownError,
            format!("{why}; the turn is begun again from its transcript"),
            RetryStatus::Retrying,
        );
        let facts = self.facts.clone();
        out.event(Body::SessionStatusRescheduled {});
        out.event(Body::ThreadStatusRescheduled {
            session_thread_id: facts.thread_id,
            agent_name: facts.agent_name,
        });
        self.status = Status::Rescheduling;
        out.log(Entry::Status(Status::Rescheduling, false));
        self.started = true;
        out.effects.push(Effect::Start { interrupted: true });
        self.run(out);
        // Claude knows a prompt by its uuid: one that is in the transcript already is not taken twice.
        if let Some(prompt) = turn.prompt.clone() {
            out.tell(Tell::Prompt(prompt));
        }
        self.turn = Some(Turn {
            prompt: turn.prompt,
            restarts: turn.restarts + 1,
            ..Turn::default()
        });
    }

    pub(super) fn run(&mut self, out: &mut Out<'_>) {
        if self.status == Status::Running {
            return;
        }
        self.status = Status::Running;
        out.event(Body::SessionStatusRunning {});
        let facts = &self.facts;
        out.event(Body::ThreadStatusRunning {
            session_thread_id: facts.thread_id.clone(),
            agent_name: facts.agent_name.clone(),
        });
        out.log(Entry::Status(Status::Running, false));
    }

    /// The session waits for answers to all calls in `asks`.
    pub(super) fn wait(&mut self, out: &mut Out<'_>) {
        let event_ids = self
            .turn_mut()
            .asks
            .iter()
            .map(|ask| ask.event_id.clone())
            .collect();
        self.idle(StopReason::RequiresAction { event_ids }, out);
    }

    pub(super) fn end(&mut self, stop_reason: StopReason, out: &mut Out<'_>) {
        if self.queue.is_empty() {
            self.idle(stop_reason, out);
        } else {
            self.begin(out);
        }
    }

    pub(super) fn idle(&mut self, stop_reason: StopReason, out: &mut Out<'_>) {
        self.status = Status::Idle;
        let facts = &self.facts;
        out.event(Body::ThreadStatusIdle {
            session_thread_id: facts.thread_id.clone(),
            agent_name: facts.agent_name.clone(),
            stop_reason: stop_reason.clone(),
            stop_details: None,
        });
        out.log(Entry::Usage);
        let waits = matches!(stop_reason, StopReason::RequiresAction { .. });
        let stop_details = (stop_reason == StopReason::Refusal)
            .then(|| json!({"type": "refusal", "category": null, "explanation": null}));
        out.event(Body::SessionStatusIdle {
            stop_reason,
            stop_details,
        });
        out.log(Entry::Status(Status::Idle, waits));
    }

    /// Ends what is open in the turn; calls without a result get an error that says `reason`.
    pub(super) fn close_turn(&mut self, reason: &str, out: &mut Out<'_>) -> Turn {
        if let Some(turn) = &mut self.turn {
            turn.asks.clear();
        }
        self.request_end(true, out);
        let turn = self.turn.take().unwrap_or_default();
        for call in &turn.calls {
            log_result(
                call,
                vec![json!({"type": "text", "text": reason})],
                true,
                out,
            );
        }
        turn
    }
}

/// Logs the result of a call under the call's own kind.
pub(super) fn log_result(call: &Call, content: Vec<Value>, is_error: bool, out: &mut Out<'_>) {
    let id = call.event_id.clone();
    match call.tool {
        Tool::BuiltIn(_) => drop(out.event(Body::AgentToolResult {
            tool_use_id: id,
            content,
            is_error,
        })),
        Tool::Mcp { .. } => drop(out.event(Body::AgentMcpToolResult {
            mcp_tool_use_id: id,
            content,
            is_error,
        })),
        // The client sent this result itself, or the turn ended without it.
        Tool::Custom(_) => {}
    }
}

/// The contract's error type for a failed model request; `None` when there was no HTTP answer.
pub(super) fn error_kind(status: Option<u16>) -> ErrorKind {
    match status {
        Some(429) => ErrorKind::ModelRateLimitedError,
        Some(529) => ErrorKind::ModelOverloadedError,
        Some(402) => ErrorKind::BillingError,
        _ => ErrorKind::ModelRequestFailedError,
    }
}
