//! What claude says, and what it does to a session.

use std::collections::VecDeque;

use api::event::{Body, ModelUsage, Permission, Preview, PreviewOf, RetryStatus};
use serde_json::{Value, json};

use super::asked::reply;
use super::turn::{error_kind, log_result};
use super::{Ask, Call, Effect, Out, Request, State, Status, Tell, Turn, Waits};
use crate::session::tools::Tool;
use crate::session::translate::{Block, Said};

impl State {
    pub(super) fn said(&mut self, said: Said, out: &mut Out<'_>) {
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
    pub(super) fn prompt_done(&mut self, uuid: &str) {
        if let Some(turn) = &mut self.turn {
            turn.prompt_done |= turn
                .prompt
                .as_ref()
                .is_some_and(|prompt| prompt.uuid == uuid);
        }
    }

    pub(super) fn turn_mut(&mut self) -> &mut Turn {
        self.turn.get_or_insert_default()
    }

    pub(super) fn request_mut(&mut self) -> Option<&mut Request> {
        self.turn.as_mut()?.request.as_mut()
    }

    /// Claude works though nobody asked: a background task ended, or an interrupted turn goes on.
    pub(super) fn unprompted(&mut self, out: &mut Out<'_>) {
        if self.turn.is_none() {
            self.finished = false;
            self.run(out);
            self.turn = Some(Turn::default());
        }
    }

    pub(super) fn request_start(&mut self, usage: ModelUsage, out: &mut Out<'_>) {
        self.unprompted(out);
        self.request_end(true, out);
        let start_id = out.event(Body::ModelRequestStart {});
        self.turn_mut().request = Some(Request {
            start_id,
            usage,
            blocks: VecDeque::new(),
        });
    }

    pub(super) fn request_end(&mut self, is_error: bool, out: &mut Out<'_>) {
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

    pub(super) fn block_start(&mut self, block: Block, out: &mut Out<'_>) {
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

    pub(super) fn text_delta(&mut self, text: &str, out: &mut Out<'_>) {
        let Some((Block::Text, id)) = self.request_mut().and_then(|request| request.blocks.back())
        else {
            return;
        };
        out.effects.push(Effect::Preview(Preview::text(id, text)));
    }

    /// The id that was announced for the block that is now complete, or a new one.
    pub(super) fn block_id(&mut self, block: Block, out: &mut Out<'_>) -> String {
        let blocks = self.request_mut().map(|request| &mut request.blocks);
        let announced = blocks.and_then(|blocks| {
            let at = blocks.iter().position(|(kind, _)| *kind == block)?;
            blocks.remove(at)
        });
        announced.map_or_else(|| out.ids.event(), |(_, id)| id)
    }

    pub(super) fn text(&mut self, text: &str, out: &mut Out<'_>) {
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
    pub(super) fn call(
        &mut self,
        tool_use_id: String,
        name: &str,
        input: Value,
        out: &mut Out<'_>,
    ) -> String {
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
        let turn = self.turn_mut();
        turn.calls.push(Call {
            tool_use_id,
            event_id: event_id.clone(),
            tool,
            answered: false,
        });
        turn.tool_calls += 1;
        let calls = turn.tool_calls;
        if let Some(max) = self.facts.max_tool_calls.filter(|max| calls > *max) {
            let message = format!("the turn hit its limit of {max} tool calls (max_tool_calls)");
            self.limit_turn(message, out);
        }
        event_id
    }

    /// The event id of a call that claude now acts on; logs the call when claude had not shown it.
    pub(super) fn call_id(
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

    pub(super) fn may_i(
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

    pub(super) fn ask(&mut self, ask: Ask, out: &mut Out<'_>) {
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

    pub(super) fn result(
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
}
