//! The whole policy of a session: what happens next, given what is and what came.
//!
//! ```text
//!            prompt                     call waits for the client
//!   Idle ─────────────▶ Running ─────────────────────────────────▶ Idle (requires_action)
//!    ▲                  │    ▲ ◀──────────── last answer ───────────┘
//!    └── claude idle ───┘    │
//!                  claude lost│once: Rescheduling, then Running again
//!   any but Running ── archive ──▶ Terminated
//! ```
//!
//! [`step`] is a plain function: no clock, no I/O, no tasks. Its effects are performed by the actor in
//! their order, and what it logs is committed before anything after it is done. The client's events
//! come here in the order of the log, one prompt is with claude at a time, and further prompts wait
//! in `queue` (their events stay queued in the log, so a crash forgets nothing).

use std::collections::{BTreeMap, VecDeque};

use api::event::{
    Body, ErrorBody, ErrorKind, ModelUsage, Permission, Preview, PreviewOf, RetryStatus, StopReason,
};
use serde_json::{Value, json};

use super::tools::{Tool, Tools};
use super::translate::{Block, Outcome, Said};

/// How often a turn is begun again after claude or its sandbox was lost in the middle of it.
/// A second loss of the same turn is more likely its own doing than bad luck.
const RESTARTS: u32 = 1;
/// The result of a call that an interrupt left without one.
const INTERRUPTED: &str =
    "Tool execution was interrupted before completion; try again if it is still needed.";

/// What does not change during a session's life in one server.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The agent's name, as thread events carry it.
    pub agent_name: String,
    /// The primary thread's id.
    pub thread_id: String,
    /// Which tools there are and what their policies say.
    pub tools: Tools,
}

/// A message from the client, not yet begun.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// The client event's id.
    pub event_id: String,
    /// The uuid under which claude knows it, made from the event's id.
    pub uuid: String,
    /// Content blocks in the model API's form.
    pub content: Value,
}

/// What a client asked for, read from the log in its order.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// `user.message`
    Prompt(Prompt),
    /// `user.interrupt`
    Interrupt {
        /// The client event's id.
        event_id: String,
    },
    /// `user.tool_confirmation` or `user.custom_tool_result`
    Answer {
        /// The client event's id.
        event_id: String,
        /// The event id of the call that is answered.
        call: String,
        /// The answer.
        answer: Answer,
    },
}

/// A client's answer to a call that waits for it.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The call may run.
    Allow,
    /// The call must not run; what the model is told.
    Deny(String),
    /// A custom tool's result.
    Result {
        /// Content blocks in the model API's form.
        content: Vec<Value>,
        /// Whether the tool failed.
        is_error: bool,
    },
}

/// What came.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A client's event.
    Asked(Asked),
    /// Something claude said.
    Said(Said),
    /// Claude, its sandbox or the link is gone, or could not be started.
    Lost {
        /// One sentence for people.
        why: String,
        /// Whether another try makes sense.
        again: bool,
    },
    /// Claude gave no sign of life for too long, or did not heed an interrupt.
    Overdue {
        /// One sentence for people.
        why: String,
    },
    /// A limit of the sandbox was hit; what it was, in one sentence.
    Limit(String),
    /// The model calls of this session are refused from now on: its budget is used up.
    BudgetReached,
    /// The client ends the session.
    Archive,
}

/// What to write to claude.
#[derive(Debug, Clone, PartialEq)]
pub enum Tell {
    /// A prompt.
    Prompt(Prompt),
    /// Stop the turn.
    Interrupt,
    /// The tool call may run.
    Allow {
        /// Claude's request.
        request_id: String,
    },
    /// The tool call must not run.
    Deny {
        /// Claude's request.
        request_id: String,
        /// What the model is told.
        message: String,
    },
    /// A custom tool's result.
    ToolResult {
        /// Claude's request.
        request_id: String,
        /// The JSON-RPC id of the call.
        rpc_id: Value,
        /// Content blocks in the model API's form.
        content: Vec<Value>,
        /// Whether the tool failed.
        is_error: bool,
    },
}

/// What to write to the log.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "an entry lives for one step, and most of them are events"
)]
pub enum Entry {
    /// A new event.
    Event {
        /// Its id.
        id: String,
        /// What happened.
        body: Body,
    },
    /// A client's event takes its place in the log.
    Processed(String),
    /// `session.usage` with what has been used up to now.
    Usage,
    /// The session's status, and whether it waits for an answer.
    Status(Status, bool),
}

/// What to do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Commit to the log, then show to readers.
    Log(Entry),
    /// Show to readers of previews.
    Preview(Preview),
    /// Write to claude; kept until claude runs.
    Tell(Tell),
    /// Make a sandbox and start claude in it.
    Start {
        /// Whether claude goes on with the unfinished turn that its transcript ends in.
        interrupted: bool,
    },
    /// End claude and its sandbox.
    Kill,
}

/// The session's status as the contract names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Waits for the client.
    Idle,
    /// Works.
    Running,
    /// Is being brought back after a loss.
    Rescheduling,
    /// Over.
    Terminated,
}

/// Makes ids for new events; the actor's are random, a test's count.
pub trait Ids {
    /// A new event id.
    fn event(&mut self) -> String;
}

/// A session, as far as decisions need it.
#[derive(Debug, Clone)]
pub struct State {
    facts: Facts,
    status: Status,
    /// Whether claude was asked to start and has not been lost since.
    started: bool,
    queue: VecDeque<Prompt>,
    turn: Option<Turn>,
    budget_reached: bool,
}

/// From a prompt (or claude's own beginning) until claude owes nothing more.
#[derive(Debug, Clone, Default)]
struct Turn {
    prompt: Option<Prompt>,
    restarts: u32,
    /// Calls without a result, by claude's own id, in the order they were made.
    calls: Vec<Call>,
    /// Calls that wait for the client.
    asks: Vec<Ask>,
    /// Answers that came before claude asked, by the call's event id.
    early: BTreeMap<String, Answer>,
    /// The model request that is answering.
    request: Option<Request>,
    outcome: Option<Outcome>,
    prompt_done: bool,
    interrupted: bool,
}

#[derive(Debug, Clone)]
struct Call {
    tool_use_id: String,
    event_id: String,
    tool: Tool,
    answered: bool,
}

#[derive(Debug, Clone)]
struct Ask {
    event_id: String,
    request_id: String,
    what: Waits,
}

#[derive(Debug, Clone)]
enum Waits {
    Permission,
    Result { rpc_id: Value },
}

#[derive(Debug, Clone)]
struct Request {
    start_id: String,
    usage: ModelUsage,
    /// Ids given to text and thinking blocks that began and are not complete yet.
    blocks: VecDeque<(Block, String)>,
}

/// Decides what happens next.
pub fn step(state: &mut State, input: Input, ids: &mut dyn Ids) -> Vec<Effect> {
    if state.status == Status::Terminated {
        return Vec::new();
    }
    let mut out = Out {
        effects: Vec::new(),
        ids,
    };
    match input {
        Input::Asked(asked) => state.asked(asked, &mut out),
        Input::Said(said) => state.said(said, &mut out),
        Input::Lost { why, again } => state.lost(&why, again, &mut out),
        Input::Overdue { why } => {
            out.effects.push(Effect::Kill);
            state.lost(&why, true, &mut out);
        }
        Input::Limit(message) => out.error(ErrorKind::UnknownError, message, RetryStatus::Retrying),
        Input::BudgetReached => state.budget_reached = true,
        Input::Archive => state.archive(&mut out),
    }
    out.effects
}

/// Effects being collected, and where event ids come from.
struct Out<'a> {
    effects: Vec<Effect>,
    ids: &'a mut dyn Ids,
}

impl Out<'_> {
    fn event(&mut self, body: Body) -> String {
        let id = self.ids.event();
        self.event_with(id.clone(), body);
        id
    }

    fn event_with(&mut self, id: String, body: Body) {
        self.log(Entry::Event { id, body });
    }

    fn log(&mut self, entry: Entry) {
        self.effects.push(Effect::Log(entry));
    }

    fn tell(&mut self, tell: Tell) {
        self.effects.push(Effect::Tell(tell));
    }

    fn error(&mut self, kind: ErrorKind, message: String, retry_status: RetryStatus) {
        self.event(Body::SessionError {
            error: ErrorBody {
                kind,
                message,
                retry_status,
                mcp_server_name: None,
            },
        });
    }
}

impl State {
    /// A session that waits and has nothing running, as after its creation or a restart of the server.
    #[must_use]
    pub fn new(facts: Facts) -> State {
        State {
            facts,
            status: Status::Idle,
            started: false,
            queue: VecDeque::new(),
            turn: None,
            budget_reached: false,
        }
    }

    /// A session whose turn was cut by the end of its server. `open` are the tool calls without a
    /// result, by event id; `request` is the start event of a model request without an end.
    #[must_use]
    pub fn cut(
        facts: Facts,
        prompt: Option<Prompt>,
        open: Vec<(String, Tool)>,
        request: Option<String>,
    ) -> State {
        let calls = open
            .into_iter()
            .map(|(event_id, tool)| Call {
                tool_use_id: String::new(),
                event_id,
                tool,
                answered: false,
            })
            .collect();
        let request = request.map(|start_id| Request {
            start_id,
            usage: ModelUsage::default(),
            blocks: VecDeque::new(),
        });
        let turn = Turn {
            prompt,
            calls,
            request,
            ..Turn::default()
        };
        State {
            status: Status::Running,
            turn: Some(turn),
            ..State::new(facts)
        }
    }

    /// What clients see.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Whether claude owes frames: it works on a turn and does not wait for the client.
    #[must_use]
    pub fn owes_frames(&self) -> bool {
        self.started
            && self.turn.as_ref().is_some_and(|turn| {
                turn.asks.is_empty() || turn.interrupted || turn.request.is_some()
            })
    }

    /// Whether an interrupt waits for claude to heed it.
    #[must_use]
    pub fn interrupting(&self) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.interrupted)
    }

    /// The calls that a client may still answer, by event id.
    pub fn open_calls(&self) -> impl Iterator<Item = (&str, &Tool)> {
        let calls = self.turn.iter().flat_map(|turn| turn.calls.iter());
        calls
            .filter(|call| !call.answered)
            .map(|call| (call.event_id.as_str(), &call.tool))
    }

    /// The agent's tools changed; they apply from the next turn.
    pub fn set_tools(&mut self, tools: Tools) {
        self.facts.tools = tools;
    }

    /// Claude was ended between turns; the next prompt starts another.
    pub fn claude_ended(&mut self) {
        self.started = false;
    }

    /// The budget was raised or removed: model calls pass again.
    pub fn budget_raised(&mut self) {
        self.budget_reached = false;
    }

    // ---- what clients ask

    fn asked(&mut self, asked: Asked, out: &mut Out<'_>) {
        match asked {
            Asked::Prompt(prompt) => {
                self.queue.push_back(prompt);
                if self.turn.is_none() {
                    self.begin(out);
                }
            }
            Asked::Interrupt { event_id } => self.interrupt(event_id, out),
            Asked::Answer {
                event_id,
                call,
                answer,
            } => self.answer(event_id, &call, answer, out),
        }
    }

    /// Hands the next prompt to claude, if there is one.
    fn begin(&mut self, out: &mut Out<'_>) {
        let Some(prompt) = self.queue.pop_front() else {
            return;
        };
        if !self.started {
            self.started = true;
            out.effects.push(Effect::Start { interrupted: false });
        }
        // Told before it is logged as processed: it was durable when the client was answered, and if the
        // server ends in between, nothing that claude made of it was kept either.
        out.tell(Tell::Prompt(prompt.clone()));
        self.run(out);
        out.log(Entry::Processed(prompt.event_id.clone()));
        self.turn = Some(Turn {
            prompt: Some(prompt),
            ..Turn::default()
        });
    }

    fn interrupt(&mut self, event_id: String, out: &mut Out<'_>) {
        out.log(Entry::Processed(event_id));
        if let Some(turn) = self.turn.as_mut().filter(|turn| !turn.interrupted) {
            turn.interrupted = true;
            turn.asks.clear();
            out.tell(Tell::Interrupt);
        }
    }

    fn answer(&mut self, event_id: String, call: &str, answer: Answer, out: &mut Out<'_>) {
        let Some(turn) = self.turn.as_mut() else {
            return out.log(Entry::Processed(event_id));
        };
        if let Some(call) = turn.calls.iter_mut().find(|open| open.event_id == call) {
            call.answered = true;
        }
        let Some(at) = turn.asks.iter().position(|ask| ask.event_id == call) else {
            turn.early.insert(call.to_owned(), answer);
            return out.log(Entry::Processed(event_id));
        };
        let ask = turn.asks.remove(at);
        let waiting = !turn.asks.is_empty() && turn.request.is_none();
        if waiting {
            out.log(Entry::Processed(event_id));
            self.wait(out);
        } else {
            self.run(out);
            out.log(Entry::Processed(event_id));
        }
        out.tell(reply(ask, answer));
    }

    fn archive(&mut self, out: &mut Out<'_>) {
        let facts = self.facts.clone();
        self.turn = None;
        out.effects.push(Effect::Kill);
        out.event(Body::ThreadStatusTerminated {
            session_thread_id: facts.thread_id,
            agent_name: facts.agent_name,
        });
        out.event(Body::SessionStatusTerminated {});
        self.status = Status::Terminated;
        out.log(Entry::Status(Status::Terminated, false));
    }

    // ---- what claude says

    fn said(&mut self, said: Said, out: &mut Out<'_>) {
        match said {
            Said::Working => self.unprompted(out),
            Said::Idle => self.claude_idle(out),
            Said::Outcome(outcome) => {
                self.unprompted(out);
                self.turn_mut().outcome = Some(outcome);
            }
            Said::PromptDone { uuid } => self.prompt_done(&uuid),
            Said::PromptCancelled { uuid } => {
                self.prompt_done(&uuid);
                self.claude_idle(out);
            }
            Said::Retrying { status, message } => {
                out.error(error_kind(status), message, RetryStatus::Retrying);
            }
            Said::Compacted => drop(out.event(Body::AgentThreadContextCompacted {})),
            Said::Unknown { kind, frame } => drop(out.event(Body::HostelFrame { kind, frame })),
            Said::RequestStart(usage) => self.request_start(usage, out),
            Said::BlockStart(block) => self.block_start(block, out),
            Said::TextDelta(text) => self.text_delta(&text, out),
            Said::RequestUsage(usage) => {
                if let Some(request) = self.request_mut() {
                    request.usage = usage;
                }
            }
            Said::RequestEnd => self.request_end(false, out),
            Said::Text(text) => self.text(&text, out),
            Said::Thinking => {
                let id = self.block_id(Block::Thinking, out);
                out.event_with(id, Body::AgentThinking {});
            }
            Said::Call {
                tool_use_id,
                name,
                input,
            } => drop(self.call(tool_use_id, &name, input, out)),
            Said::Result {
                tool_use_id,
                content,
                is_error,
            } => self.result(&tool_use_id, content, is_error, out),
            Said::MayI {
                request_id,
                tool_use_id,
                name,
                input,
            } => self.may_i(request_id, tool_use_id, &name, input, out),
            Said::RunCustom {
                request_id,
                rpc_id,
                tool_use_id,
                name,
                input,
            } => {
                let event_id = self.call_id(tool_use_id, &name, input, out);
                self.ask(
                    Ask {
                        event_id,
                        request_id,
                        what: Waits::Result { rpc_id },
                    },
                    out,
                );
            }
            Said::Withdrawn { request_id } => {
                if let Some(turn) = &mut self.turn {
                    turn.asks.retain(|ask| ask.request_id != request_id);
                }
            }
        }
    }

    /// Claude is done with a prompt, or says so early when it is sent again to a resumed claude. Only
    /// together with an idle claude it means that the turn is over: without a result when the prompt
    /// was answered in the transcript already, or was cancelled before it was begun.
    fn prompt_done(&mut self, uuid: &str) {
        if let Some(turn) = &mut self.turn {
            turn.prompt_done |= turn
                .prompt
                .as_ref()
                .is_some_and(|prompt| prompt.uuid == uuid);
        }
    }

    fn turn_mut(&mut self) -> &mut Turn {
        self.turn.get_or_insert_default()
    }

    fn request_mut(&mut self) -> Option<&mut Request> {
        self.turn.as_mut()?.request.as_mut()
    }

    /// Claude works though nobody asked: a background task ended, or an interrupted turn goes on.
    fn unprompted(&mut self, out: &mut Out<'_>) {
        if self.turn.is_none() {
            self.run(out);
            self.turn = Some(Turn::default());
        }
    }

    fn request_start(&mut self, usage: ModelUsage, out: &mut Out<'_>) {
        self.unprompted(out);
        self.request_end(true, out);
        let start_id = out.event(Body::ModelRequestStart {});
        self.turn_mut().request = Some(Request {
            start_id,
            usage,
            blocks: VecDeque::new(),
        });
    }

    fn request_end(&mut self, is_error: bool, out: &mut Out<'_>) {
        let Some(turn) = &mut self.turn else { return };
        let Some(request) = turn.request.take() else {
            return;
        };
        out.event(Body::ModelRequestEnd {
            model_request_start_id: request.start_id,
            is_error,
            model_usage: request.usage,
        });
        if !turn.asks.is_empty() && self.status == Status::Running {
            self.wait(out);
        }
    }

    fn block_start(&mut self, block: Block, out: &mut Out<'_>) {
        let id = out.ids.event();
        let Some(request) = self.request_mut() else {
            return;
        };
        request.blocks.push_back((block, id.clone()));
        let kind = match block {
            Block::Text => "agent.message",
            Block::Thinking => "agent.thinking",
        };
        out.effects.push(Effect::Preview(Preview::EventStart {
            event: PreviewOf {
                kind: kind.to_owned(),
                id,
            },
        }));
    }

    fn text_delta(&mut self, text: &str, out: &mut Out<'_>) {
        let Some((Block::Text, id)) = self.request_mut().and_then(|request| request.blocks.back())
        else {
            return;
        };
        out.effects.push(Effect::Preview(Preview::text(id, text)));
    }

    /// The id that was announced for the block that is now complete, or a new one.
    fn block_id(&mut self, block: Block, out: &mut Out<'_>) -> String {
        let blocks = self.request_mut().map(|request| &mut request.blocks);
        let announced = blocks.and_then(|blocks| {
            let at = blocks.iter().position(|(kind, _)| *kind == block)?;
            blocks.remove(at)
        });
        announced.map_or_else(|| out.ids.event(), |(_, id)| id)
    }

    fn text(&mut self, text: &str, out: &mut Out<'_>) {
        let id = self.block_id(Block::Text, out);
        if !text.is_empty() {
            out.event_with(
                id,
                Body::AgentMessage {
                    content: vec![json!({"type": "text", "text": text})],
                },
            );
        }
    }

    /// Logs a call and remembers it until its result; its event id.
    fn call(&mut self, tool_use_id: String, name: &str, input: Value, out: &mut Out<'_>) -> String {
        let tool = self.facts.tools.lookup(name);
        let (evaluated_permission, evaluation) = self.facts.tools.evaluate(&tool);
        let body = match &tool {
            Tool::BuiltIn(name) => Body::AgentToolUse {
                name: name.clone(),
                input,
                evaluated_permission,
                evaluation,
            },
            Tool::Mcp { server, name } => Body::AgentMcpToolUse {
                mcp_server_name: server.clone(),
                name: name.clone(),
                input,
                evaluated_permission,
                evaluation,
            },
            Tool::Custom(name) => Body::AgentCustomToolUse {
                name: name.clone(),
                input,
            },
        };
        let event_id = out.event(body);
        self.turn_mut().calls.push(Call {
            tool_use_id,
            event_id: event_id.clone(),
            tool,
            answered: false,
        });
        event_id
    }

    /// The event id of a call that claude now acts on; logs the call when claude had not shown it.
    fn call_id(
        &mut self,
        tool_use_id: String,
        name: &str,
        input: Value,
        out: &mut Out<'_>,
    ) -> String {
        let known = self
            .turn_mut()
            .calls
            .iter()
            .find(|call| call.tool_use_id == tool_use_id)
            .map(|call| call.event_id.clone());
        known.unwrap_or_else(|| self.call(tool_use_id, name, input, out))
    }

    fn may_i(
        &mut self,
        request_id: String,
        tool_use_id: String,
        name: &str,
        input: Value,
        out: &mut Out<'_>,
    ) {
        let tool = self.facts.tools.lookup(name);
        match self.facts.tools.evaluate(&tool).0 {
            Permission::Allow => out.tell(Tell::Allow { request_id }),
            Permission::Deny => out.tell(Tell::Deny {
                request_id,
                message: format!("the tool {name} is not enabled for this agent"),
            }),
            Permission::Ask => {
                let event_id = self.call_id(tool_use_id, name, input, out);
                self.ask(
                    Ask {
                        event_id,
                        request_id,
                        what: Waits::Permission,
                    },
                    out,
                );
            }
        }
    }

    fn ask(&mut self, ask: Ask, out: &mut Out<'_>) {
        let turn = self.turn_mut();
        if turn.interrupted {
            return;
        }
        if let Some(answer) = turn.early.remove(&ask.event_id) {
            return out.tell(reply(ask, answer));
        }
        turn.asks.push(ask);
        // Claude asks while the model still speaks. The session waits when the model is done, so that
        // all calls of one answer are asked for together and nothing follows the idle event.
        if turn.request.is_none() {
            self.wait(out);
        }
    }

    fn result(
        &mut self,
        tool_use_id: &str,
        content: Vec<Value>,
        is_error: bool,
        out: &mut Out<'_>,
    ) {
        let Some(turn) = &mut self.turn else { return };
        let Some(at) = turn
            .calls
            .iter()
            .position(|call| call.tool_use_id == tool_use_id)
        else {
            return;
        };
        let call = turn.calls.remove(at);
        turn.asks.retain(|ask| ask.event_id != call.event_id);
        log_result(&call, content, is_error, out);
    }

    /// Claude owes nothing more: the turn is over, and the next prompt begins.
    fn claude_idle(&mut self, out: &mut Out<'_>) {
        // Without either this is the state that claude reports when it has just started.
        let over = |turn: &Turn| turn.outcome.is_some() || turn.prompt_done;
        if !self.turn.as_ref().is_some_and(over) {
            return;
        }
        let turn = self.close_turn(INTERRUPTED, out);
        let outcome = turn.outcome.unwrap_or(Outcome::Done);
        let stop_reason = self.stop_reason(outcome, turn.interrupted, out);
        self.end(stop_reason, out);
    }

    fn stop_reason(&self, outcome: Outcome, interrupted: bool, out: &mut Out<'_>) -> StopReason {
        match outcome {
            _ if interrupted => StopReason::EndTurn,
            _ if self.budget_reached => StopReason::BudgetReached,
            Outcome::Done => StopReason::EndTurn,
            Outcome::Refused => StopReason::Refusal,
            Outcome::Budget => StopReason::BudgetReached,
            Outcome::TooManyRounds { message } => {
                out.error(
                    ErrorKind::ToolUseLimitReachedError,
                    message,
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

    // ---- what happens to claude

    fn lost(&mut self, why: &str, again: bool, out: &mut Out<'_>) {
        self.started = false;
        let Some(turn) = &self.turn else { return };
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

    /// Begins the turn again in a new sandbox, from the transcript as far as it was mirrored.
    fn restart(&mut self, why: &str, out: &mut Out<'_>) {
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

    // ---- what clients see of it

    fn run(&mut self, out: &mut Out<'_>) {
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
    fn wait(&mut self, out: &mut Out<'_>) {
        let event_ids = self
            .turn_mut()
            .asks
            .iter()
            .map(|ask| ask.event_id.clone())
            .collect();
        self.idle(StopReason::RequiresAction { event_ids }, out);
    }

    fn end(&mut self, stop_reason: StopReason, out: &mut Out<'_>) {
        if self.queue.is_empty() {
            self.idle(stop_reason, out);
        } else {
            self.begin(out);
        }
    }

    fn idle(&mut self, stop_reason: StopReason, out: &mut Out<'_>) {
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
    fn close_turn(&mut self, reason: &str, out: &mut Out<'_>) -> Turn {
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

fn log_result(call: &Call, content: Vec<Value>, is_error: bool, out: &mut Out<'_>) {
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

fn reply(ask: Ask, answer: Answer) -> Tell {
    let Ask {
        request_id, what, ..
    } = ask;
    match (what, answer) {
        (Waits::Permission, Answer::Allow) => Tell::Allow { request_id },
        (Waits::Permission, Answer::Deny(message)) => Tell::Deny {
            request_id,
            message,
        },
        (Waits::Result { rpc_id }, Answer::Result { content, is_error }) => Tell::ToolResult {
            request_id,
            rpc_id,
            content,
            is_error,
        },
        // An answer of the other kind is refused before it is logged; what is left is told as it is.
        (Waits::Permission, Answer::Result { .. }) => Tell::Deny {
            request_id,
            message: "the client answered with a result".to_owned(),
        },
        (Waits::Result { rpc_id }, Answer::Allow | Answer::Deny(_)) => {
            let content = vec![json!({"type": "text", "text": "the client did not run the tool"})];
            Tell::ToolResult {
                request_id,
                rpc_id,
                content,
                is_error: true,
            }
        }
    }
}

/// The contract's error type for a failed model request; `None` when there was no HTTP answer.
fn error_kind(status: Option<u16>) -> ErrorKind {
    match status {
        Some(429) => ErrorKind::ModelRateLimitedError,
        Some(529) => ErrorKind::ModelOverloadedError,
        Some(402) => ErrorKind::BillingError,
        _ => ErrorKind::ModelRequestFailedError,
    }
}

#[cfg(test)]
mod tests;
