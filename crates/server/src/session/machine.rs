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

mod asked;
mod said;
mod turn;

use std::collections::{BTreeMap, VecDeque};

use api::event::{Body, ErrorBody, ErrorKind, ModelUsage, Preview, QueueReason, RetryStatus};
use serde_json::Value;

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
    /// Tool calls in one turn; `None` is any number.
    pub max_tool_calls: Option<u32>,
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

/// Where a session stands that waits for a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    /// How many go before, this one included.
    pub position: u32,
    /// For what it waits.
    pub reason: QueueReason,
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
    /// Claude was ended between two turns, to be started anew. A prompt that came in the meantime was
    /// told to the one that ended.
    Recycled,
    /// Claude gave no sign of life for too long, or did not heed an interrupt.
    Overdue {
        /// One sentence for people.
        why: String,
    },
    /// It waits for a sandbox.
    Queued(Queued),
    /// A limit of the sandbox was hit; what it was, in one sentence.
    Limit(String),
    /// A credential of an MCP server does not work.
    CredentialFailed {
        /// The server's name.
        server: String,
        /// One sentence for people.
        message: String,
    },
    /// The turn hit one of its own limits; which, in one sentence.
    TurnLimit(String),
    /// A model call was refused because a budget is used up; which and until when, in one sentence.
    BudgetReached(Option<String>),
    /// The session's task is done, and its environment wants it ended then.
    Done,
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
    /// The session is terminated without being archived.
    Done,
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
    /// The last turn ended by itself and as it should.
    finished: bool,
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
    tool_calls: u32,
    /// The limit that ends the turn, in one sentence.
    limit: Option<String>,
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
        Input::Recycled => state.recycled(&mut out),
        Input::Overdue { why } => {
            out.effects.push(Effect::Kill);
            state.lost(&why, true, &mut out);
        }
        Input::Queued(Queued { position, reason }) => {
            drop(out.event(Body::HostelQueued { position, reason }));
        }
        Input::Limit(message) => out.error(ErrorKind::UnknownError, message, RetryStatus::Retrying),
        Input::CredentialFailed { server, message } => out.server_error(server, message),
        Input::TurnLimit(message) => state.limit_turn(message, &mut out),
        Input::BudgetReached(why) => state.budget_reached(why, &mut out),
        Input::Done => state.terminate(Entry::Done, &mut out),
        Input::Archive => state.terminate(Entry::Status(Status::Terminated, false), &mut out),
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

    /// The session goes on without the server's tools.
    fn server_error(&mut self, server: String, message: String) {
        self.event(Body::SessionError {
            error: ErrorBody {
                kind: ErrorKind::McpAuthenticationFailedError,
                message,
                retry_status: RetryStatus::Retrying,
                mcp_server_name: Some(server),
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
            finished: false,
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

    /// Whether nothing is left to do: the last turn ended as it should and nobody asked for more.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.finished && self.turn.is_none() && self.queue.is_empty()
    }

    /// Whether the session waits for a client's answer in the middle of a turn.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.status == Status::Idle && self.turn.is_some()
    }

    /// Whether claude was asked to start and has not been lost since.
    #[must_use]
    pub fn started(&self) -> bool {
        self.started
    }

    /// Claude was started though no prompt waits for it.
    pub fn claude_started(&mut self) {
        self.started = true;
    }

    /// Claude was ended between turns; the next prompt starts another.
    pub fn claude_ended(&mut self) {
        self.started = false;
    }

    /// The budget was raised or removed: model calls pass again.
    pub fn budget_raised(&mut self) {
        self.budget_reached = false;
    }
}

#[cfg(test)]
mod tests;
