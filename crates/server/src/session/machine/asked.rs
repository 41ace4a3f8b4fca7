//! What clients ask, and what it does to a session.

use serde_json::json;

use super::{Answer, Ask, Asked, Effect, Entry, Out, State, Status, Tell, Turn, Waits};
use api::event::Body;

impl State {
    pub(super) fn asked(&mut self, asked: Asked, out: &mut Out<'_>) {
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
    pub(super) fn begin(&mut self, out: &mut Out<'_>) {
        let Some(prompt) = self.queue.pop_front() else {
            return;
        };
        if !self.started {
            self.started = true;
            out.effects.push(Effect::Start { interrupted: false });
        }
        // Told before it is logged as processed: it was durable when the client was answered, and if the
        // server ends in between, nothing that claude made of it was kept either.
        self.finished = false;
        // A budget of yesterday says nothing about today.
        self.budget_reached = false;
        out.tell(Tell::Prompt(prompt.clone()));
        self.run(out);
        out.log(Entry::Processed(prompt.event_id.clone()));
        self.turn = Some(Turn {
            prompt: Some(prompt),
            ..Turn::default()
        });
    }

    pub(super) fn interrupt(&mut self, event_id: String, out: &mut Out<'_>) {
        out.log(Entry::Processed(event_id));
        if let Some(turn) = self.turn.as_mut().filter(|turn| !turn.interrupted) {
            turn.interrupted = true;
            turn.asks.clear();
            out.tell(Tell::Interrupt);
        }
    }

    pub(super) fn answer(
        &mut self,
        event_id: String,
        call: &str,
        answer: Answer,
        out: &mut Out<'_>,
    ) {
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

    /// Ends the session; `entry` says how the record shows it.
    pub(super) fn terminate(&mut self, entry: Entry, out: &mut Out<'_>) {
        let facts = self.facts.clone();
        self.turn = None;
        out.effects.push(Effect::Kill);
        out.event(Body::ThreadStatusTerminated {
            session_thread_id: facts.thread_id,
            agent_name: facts.agent_name,
        });
        out.event(Body::SessionStatusTerminated {});
        self.status = Status::Terminated;
        out.log(entry);
    }
}

/// What claude is told for an answer.
pub(super) fn reply(ask: Ask, answer: Answer) -> Tell {
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
