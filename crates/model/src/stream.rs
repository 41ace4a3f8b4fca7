//! The wire form of an answer: server-sent events or one JSON object, and the
//! body that sends them with the waits and breaks of the plan.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use serde_json::{Value, json};
use tokio::time::{Sleep, sleep};

use crate::plan::{Block, Plan};
use crate::script::Fault;

/// Bytes of text in a delta; large texts come in larger ones.
const DELTA: usize = 24;
const LARGE_DELTA: usize = 4 * 1024;
const LARGE: usize = 16 * 1024;

/// Events are joined into frames of about this size when nothing waits between
/// them, so that an answer costs few writes and a large one little memory.
const FRAME: usize = 16 * 1024;

/// What a body does next.
enum Step {
    Send(Bytes),
    /// Deltas of a text from an offset on, made when they are due.
    Deltas {
        index: usize,
        kind: Delta,
        text: String,
        at: usize,
    },
    /// Lets the connection write out what it has before it is cut.
    Flush,
    Cut,
    Silence,
}

#[derive(Clone, Copy)]
enum Delta {
    Text,
    Thinking,
    Input,
}

/// A body as planned.
pub(crate) struct Planned {
    steps: VecDeque<Step>,
    slow: Option<Duration>,
    waiting: Option<Pin<Box<Sleep>>>,
    /// Known length of a body that is one piece.
    length: Option<u64>,
}

/// The connection is to be closed here.
#[derive(Debug)]
pub(crate) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut by the script")
    }
}

impl std::error::Error for Cut {}

impl Planned {
    /// A body of one piece.
    pub(crate) fn whole(content: impl Into<Bytes>) -> Self {
        let content = content.into();
        let length = Some(content.len() as u64);
        Self {
            steps: VecDeque::from([Step::Send(content)]),
            slow: None,
            waiting: None,
            length,
        }
    }

    /// The events of a streamed answer.
    pub(crate) fn events(plan: Plan, id: &str, tool_id: impl Fn() -> String) -> Self {
        let mut steps = VecDeque::from([Step::Send(message_start(&plan, id))]);
        for (index, block) in plan.blocks.into_iter().enumerate() {
            block_steps(&mut steps, index, block, &tool_id);
        }
        match plan.fault {
            None => steps.push_back(Step::Send(message_end(
                &plan.stop_reason,
                plan.usage.object(plan.usage.output),
            ))),
            Some(Fault::Break(kind)) => {
                let error =
                    json!({"type": "error", "error": {"type": kind, "message": "scripted"}});
                steps.push_back(Step::Send(event("error", &error)));
            }
            Some(Fault::Cut) => steps.extend([Step::Flush, Step::Cut]),
            Some(Fault::Stall | Fault::Silent | Fault::Error { .. }) => {
                steps.push_back(Step::Silence)
            }
        }
        Self {
            steps,
            slow: plan.slow,
            waiting: None,
            length: None,
        }
    }

    /// An answer of one object, cut or silent in its middle when planned so.
    pub(crate) fn object(plan: Plan, id: &str, tool_id: impl Fn() -> String) -> Self {
        let content: Vec<Value> = plan
            .blocks
            .iter()
            .filter_map(|block| content_block(block, &tool_id))
            .collect();
        let message = json!({
            "id": id, "type": "message", "role": "assistant", "model": plan.model,
            "content": content, "stop_reason": plan.stop_reason, "stop_sequence": null,
            "usage": plan.usage.object(plan.usage.output),
        });
        let text = Bytes::from(message.to_string());
        let Some(fault) = plan.fault else {
            return Self::whole(text);
        };
        let mut steps = VecDeque::from([Step::Send(text.slice(..text.len() / 2))]);
        match fault {
            Fault::Cut => steps.extend([Step::Flush, Step::Cut]),
            _ => steps.push_back(Step::Silence),
        }
        Self {
            steps,
            slow: None,
            waiting: None,
            length: None,
        }
    }

    /// The next frame, all that can be said without a wait.
    fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        let mut frame = BytesMut::new();
        while frame.len() < FRAME {
            match self.steps.front_mut() {
                Some(Step::Send(bytes)) => {
                    frame.extend_from_slice(bytes);
                    self.steps.pop_front();
                }
                Some(Step::Deltas {
                    index,
                    kind,
                    text,
                    at,
                }) => {
                    let size = if text.len() > LARGE {
                        LARGE_DELTA
                    } else {
                        DELTA
                    };
                    let end = text.len().min(*at + size);
                    let end = (end..=text.len()).find(|end| text.is_char_boundary(*end));
                    let end = end.unwrap_or(text.len());
                    frame.extend_from_slice(&delta(*index, *kind, &text[*at..end]));
                    *at = end;
                    if end == text.len() {
                        self.steps.pop_front();
                    }
                    if self.slow.is_some() {
                        break;
                    }
                }
                Some(Step::Cut) if frame.is_empty() => return Some(Err(Cut)),
                Some(Step::Flush | Step::Cut | Step::Silence) | None => break,
            }
        }
        (!frame.is_empty()).then(|| Ok(frame.freeze()))
    }

    fn is_silent(&self) -> bool {
        matches!(self.steps.front(), Some(Step::Silence))
    }
}

impl Body for Planned {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        if let Some(waiting) = &mut this.waiting {
            std::task::ready!(waiting.as_mut().poll(cx));
            this.waiting = None;
        }
        let next = this.next();
        if next.is_none() && matches!(this.steps.front(), Some(Step::Flush)) {
            this.steps.pop_front();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let (Some(slow), Some(Ok(_))) = (this.slow, &next) {
            this.waiting = Some(Box::pin(sleep(slow)));
        }
        match next {
            // Nobody wakes this task: only the client's leaving ends it.
            None if this.is_silent() => Poll::Pending,
            None => Poll::Ready(None),
            Some(frame) => Poll::Ready(Some(frame.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(length) if !self.steps.is_empty() => SizeHint::with_exact(length),
            Some(_) => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}

fn block_steps(
    steps: &mut VecDeque<Step>,
    index: usize,
    block: Block,
    tool_id: &impl Fn() -> String,
) {
    let (start, kind, text) = match block {
        Block::Raw(data) => return steps.push_back(Step::Send(raw(&data))),
        Block::Text(text) => (json!({"type": "text", "text": ""}), Delta::Text, text),
        Block::Thinking(text) => {
            let start = json!({"type": "thinking", "thinking": "", "signature": ""});
            (start, Delta::Thinking, text)
        }
        Block::Tool { name, input } => {
            let start = json!({"type": "tool_use", "id": tool_id(), "name": name, "input": {}});
            (start, Delta::Input, input.to_string())
        }
    };
    let start = json!({"type": "content_block_start", "index": index, "content_block": start});
    steps.push_back(Step::Send(event("content_block_start", &start)));
    if index == 0 {
        steps.push_back(Step::Send(event("ping", &json!({"type": "ping"}))));
    }
    let thinks = matches!(kind, Delta::Thinking);
    steps.push_back(Step::Deltas {
        index,
        kind,
        text,
        at: 0,
    });
    if thinks {
        let signed = json!({"type": "content_block_delta", "index": index,
            "delta": {"type": "signature_delta", "signature": SIGNATURE}});
        steps.push_back(Step::Send(event("content_block_delta", &signed)));
    }
    let stop = json!({"type": "content_block_stop", "index": index});
    steps.push_back(Step::Send(event("content_block_stop", &stop)));
}

/// What a thinking block is signed with. Nobody checks it here.
const SIGNATURE: &str = "c2NyaXB0ZWQ=";

fn content_block(block: &Block, tool_id: &impl Fn() -> String) -> Option<Value> {
    Some(match block {
        Block::Text(text) => json!({"type": "text", "text": text}),
        Block::Thinking(text) => {
            json!({"type": "thinking", "thinking": text, "signature": SIGNATURE})
        }
        Block::Tool { name, input } => {
            json!({"type": "tool_use", "id": tool_id(), "name": name, "input": input})
        }
        Block::Raw(_) => return None,
    })
}

fn message_start(plan: &Plan, id: &str) -> Bytes {
    let message = json!({
        "id": id, "type": "message", "role": "assistant", "model": plan.model,
        "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": plan.usage.object(1),
    });
    event(
        "message_start",
        &json!({"type": "message_start", "message": message}),
    )
}

fn message_end(stop_reason: &str, usage: Value) -> Bytes {
    let delta = json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason, "stop_sequence": null},
        "usage": usage,
    });
    let mut end = BytesMut::from(&event("message_delta", &delta)[..]);
    end.extend_from_slice(&event("message_stop", &json!({"type": "message_stop"})));
    end.freeze()
}

fn delta(index: usize, kind: Delta, text: &str) -> Bytes {
    let delta = match kind {
        Delta::Text => json!({"type": "text_delta", "text": text}),
        Delta::Thinking => json!({"type": "thinking_delta", "thinking": text}),
        Delta::Input => json!({"type": "input_json_delta", "partial_json": text}),
    };
    let delta = json!({"type": "content_block_delta", "index": index, "delta": delta});
    event("content_block_delta", &delta)
}

fn event(name: &str, data: &Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// An event as the script has it, under its own type when it has one.
fn raw(data: &str) -> Bytes {
    let parsed: Option<Value> = serde_json::from_str(data).ok();
    match parsed.as_ref().and_then(|data| data["type"].as_str()) {
        Some(name) => Bytes::from(format!("event: {name}\ndata: {data}\n\n")),
        None => Bytes::from(format!("data: {data}\n\n")),
    }
}
