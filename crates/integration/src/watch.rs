//! A reader of one session's stream from its first event on, which comes back with `Last-Event-ID`
//! whenever the stream ends, as a good client does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::client::Client;
use crate::sse::{Frame, Parser};
use crate::wait::until;

/// How long it waits before it comes back.
const PAUSE: Duration = Duration::from_millis(20);

/// Events after which a stream is over for good.
const LAST: [&str; 2] = ["session.status_terminated", "session.deleted"];

/// The reader; it reads until it is dropped.
pub struct Watch {
    frames: Arc<Mutex<Vec<Frame>>>,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Begins to read.
    #[must_use]
    pub fn new(client: Client, session: &str) -> Watch {
        let frames = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(read(client, session.to_owned(), frames.clone()));
        Watch { frames, task }
    }

    /// What it has seen, pings left out.
    #[must_use]
    pub fn frames(&self) -> Vec<Frame> {
        self.frames.lock().unwrap().clone()
    }

    /// Everything from frame `from` on, up to and with the first frame that `is`.
    #[track_caller]
    pub fn find(
        &self,
        what: &str,
        from: usize,
        is: impl Fn(&Frame) -> bool,
    ) -> impl Future<Output = Events> {
        until(what, move || {
            let frames = self.frames.lock().unwrap();
            let at = frames.iter().skip(from).position(&is)?;
            Some(Events(frames[from..=from + at].to_vec()))
        })
    }
}

async fn read(client: Client, session: String, frames: Arc<Mutex<Vec<Frame>>>) {
    let path = format!("/v1/sessions/{session}/events/stream?event_deltas[]=agent.message");
    loop {
        let seen = frames
            .lock()
            .unwrap()
            .iter()
            .rev()
            .find_map(|frame| frame.id)
            .unwrap_or(0);
        let request = client
            .request(Method::GET, &path)
            .header("last-event-id", seen);
        if let Ok(mut response) = request.send().await
            && response.status().is_success()
        {
            let mut parser = Parser::default();
            while let Ok(Some(chunk)) = response.chunk().await {
                let new = parser
                    .push(&chunk)
                    .into_iter()
                    .filter(|frame| frame.event != "ping");
                frames.lock().unwrap().extend(new);
            }
        }
        let over = |frame: &Frame| LAST.contains(&frame.event.as_str());
        if frames.lock().unwrap().last().is_some_and(over) {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// A stretch of a stream.
#[derive(Debug, Clone)]
pub struct Events(pub Vec<Frame>);

impl Events {
    /// The events of a type, as JSON.
    #[must_use]
    pub fn of(&self, kind: &str) -> Vec<Value> {
        let frames = self.0.iter().filter(|frame| frame.event == kind);
        frames
            .map(|frame| serde_json::from_str(&frame.data).unwrap())
            .collect()
    }

    /// The only event of a type.
    #[track_caller]
    #[must_use]
    pub fn only(&self, kind: &str) -> Value {
        let mut found = self.of(kind);
        assert_eq!(found.len(), 1, "{kind} in {:#?}", self.kinds());
        found.remove(0)
    }

    /// The types of the events that are kept, in order, without the bookkeeping of threads and usage.
    #[must_use]
    pub fn kinds(&self) -> Vec<&str> {
        let kept = self.0.iter().filter(|frame| frame.id.is_some());
        let kinds = kept.map(|frame| frame.event.as_str());
        kinds
            .filter(|kind| !kind.contains("thread") && *kind != "session.usage")
            .collect()
    }

    /// What the agent said.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        let text = |event: &Value| event["content"][0]["text"].as_str().unwrap().to_owned();
        self.of("agent.message").iter().map(text).collect()
    }

    /// What went wrong: type, message and what happens next.
    #[must_use]
    pub fn errors(&self) -> Vec<(String, String, String)> {
        let errors = self.of("session.error");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let error = |event: &Value| {
            let error = &event["error"];
            (
                text(&error["type"]),
                text(&error["message"]),
                text(&error["retry_status"]["type"]),
            )
        };
        errors.iter().map(error).collect()
    }

    /// Why the session went idle, if it did.
    #[must_use]
    pub fn stop_reason(&self) -> String {
        let idles = self.of("session.status_idle");
        let reason = idles.last().map(|idle| idle["stop_reason"]["type"].clone());
        reason
            .unwrap_or_default()
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Fails unless the agent said just this and the turn ended as turns do, without an error.
    #[track_caller]
    pub fn answered(&self, text: &str) {
        assert_eq!(self.texts(), [text], "{self:#?}");
        assert_eq!(self.errors(), []);
        assert_eq!(self.stop_reason(), "end_turn");
    }

    /// Fails unless exactly one error of this type, message and consequence is among them.
    #[track_caller]
    pub fn told(&self, kind: &str, message: &str, next: &str) {
        let errors = self.errors();
        let hits = errors
            .iter()
            .filter(|(of, said, status)| of == kind && said.contains(message) && status == next);
        assert_eq!(
            hits.count(),
            1,
            "{kind}, {message:?}, {next} in {errors:#?}"
        );
    }
}
