//! A session under test. Every message that is sent through it carries a mark of its own, so that the
//! recorded requests of the model show whether it arrived once.

use std::sync::Mutex;

use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::sse::Frame;
use crate::wait::until;
use crate::watch::{Events, Watch};

/// What a session's agent can do.
#[derive(Debug, Clone)]
pub struct Agent {
    /// The model's id.
    pub model: String,
    /// The tools, in the contract's form.
    pub tools: Vec<Value>,
    /// Which versions of the claude CLI may run it.
    pub cli: Option<String>,
}

impl Agent {
    /// One with the built-in tools, which ask nobody.
    #[must_use]
    pub fn free() -> Agent {
        Agent::with_policy("always_allow")
    }

    /// One that asks before each call of a built-in tool.
    #[must_use]
    pub fn asking() -> Agent {
        Agent::with_policy("always_ask")
    }

    fn with_policy(policy: &str) -> Agent {
        let config = json!({"permission_policy": {"type": policy}});
        let tools = json!({"type": "agent_toolset_20260401", "default_config": config});
        Agent {
            model: "claude-sonnet-5".to_owned(),
            tools: vec![tools],
            cli: None,
        }
    }

    /// One with a tool that the client runs.
    #[must_use]
    pub fn with_custom_tool(name: &str) -> Agent {
        let schema = json!({"type": "object", "properties": {}});
        let tool = json!({
            "type": "custom", "name": name, "description": "a test's tool", "input_schema": schema
        });
        Agent {
            tools: vec![tool],
            ..Agent::free()
        }
    }

    /// What makes it.
    pub(crate) fn body(&self) -> Value {
        json!({"name": "tester", "model": self.model, "tools": self.tools, "cli": self.cli})
    }

    /// The same on these versions of the claude CLI.
    #[must_use]
    pub fn run_by(self, cli: &str) -> Agent {
        Agent {
            cli: Some(cli.to_owned()),
            ..self
        }
    }

    /// The same with another model.
    #[must_use]
    pub fn on(self, model: &str) -> Agent {
        Agent {
            model: model.to_owned(),
            ..self
        }
    }
}

/// The session.
pub struct Session {
    /// Its id.
    pub id: String,
    /// Reads its stream.
    pub watch: Watch,
    client: Client,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Frames up to the last idle that a test has waited for.
    seen: usize,
    /// Marks of messages that were sent, in order.
    marks: Vec<String>,
    /// Ids of acknowledged events, in order.
    acknowledged: Vec<String>,
    /// The session is gone on purpose.
    deleted: bool,
}

impl Session {
    pub(crate) async fn create(client: Client, agent: &Agent, more: &Value) -> Session {
        let agent = client.post("/v1/agents", &agent.body()).await.ok();
        let environment = client
            .post("/v1/environments", &json!({"name": "test"}))
            .await
            .ok();
        let mut wanted = json!({"agent": agent["id"], "environment_id": environment["id"]});
        for (key, value) in more.as_object().into_iter().flatten() {
            wanted[key] = value.clone();
        }
        let made = client.post("/v1/sessions", &wanted).await.ok();
        Session::at(client, made["id"].as_str().unwrap())
    }

    /// The session of this id, whose events nobody has waited for.
    pub(crate) fn at(client: Client, id: &str) -> Session {
        Session {
            id: id.to_owned(),
            watch: Watch::new(client.clone(), id),
            client,
            state: Mutex::default(),
        }
    }

    /// Passes over what is in the log by now: a fork has the turns of another.
    pub(crate) async fn catch_up(&self) {
        let log = self.list().await.len();
        let seen = until("a reader that has seen the log", || {
            let seen = self.watch.frames().len();
            (seen >= log).then_some(seen)
        });
        let seen = seen.await;
        self.state.lock().unwrap().seen = seen;
    }

    /// A path below the session's own.
    #[must_use]
    pub fn path(&self, below: &str) -> String {
        format!("/v1/sessions/{}{below}", self.id)
    }

    /// Sends events as they are.
    pub async fn send(&self, events: &Value) -> Answer {
        let answer = self
            .client
            .post(&self.path("/events"), &json!({"events": events}))
            .await;
        self.acknowledge(&answer);
        answer
    }

    /// Notes what an answer to a send acknowledges.
    pub fn acknowledge(&self, answer: &Answer) {
        if answer.status.is_success() {
            let sent = answer.json()["data"].as_array().unwrap().clone();
            let ids = sent
                .iter()
                .map(|event| event["id"].as_str().unwrap().to_owned());
            self.state.lock().unwrap().acknowledged.extend(ids);
        }
    }

    /// A message with a mark of its own.
    #[must_use]
    pub fn message(&self, script: &str) -> Value {
        let mut state = self.state.lock().unwrap();
        let mark = format!("[message {} of {}]", state.marks.len(), self.id);
        let text = format!("{mark}\n{script}");
        state.marks.push(mark);
        json!({"type": "user.message", "content": [{"type": "text", "text": text}]})
    }

    /// Sends a message; it is acknowledged when this returns.
    pub async fn say(&self, script: &str) {
        let message = self.message(script);
        self.send(&json!([message])).await.ok();
    }

    /// Sends a message and gives what came up to the idle that follows.
    pub async fn turn(&self, script: &str) -> Events {
        self.say(script).await;
        self.idle().await
    }

    /// What came since the last idle that was waited for, up to the next one.
    #[track_caller]
    pub fn idle(&self) -> impl Future<Output = Events> {
        let idle = self.find("an idle session", |frame| {
            frame.event == "session.status_idle"
        });
        async move {
            let events = idle.await;
            self.state.lock().unwrap().seen += events.0.len();
            events
        }
    }

    /// Waits for an event of this type since the last idle; the newest of them.
    #[track_caller]
    pub fn event(&self, kind: &str) -> impl Future<Output = Value> {
        let found = self.find(kind, {
            let kind = kind.to_owned();
            move |frame| frame.event == kind
        });
        async move { serde_json::from_str(&found.await.0.last().unwrap().data).unwrap() }
    }

    /// Waits for a frame since the last idle.
    #[track_caller]
    pub fn find(&self, what: &str, is: impl Fn(&Frame) -> bool) -> impl Future<Output = Events> {
        self.watch.find(what, self.state.lock().unwrap().seen, is)
    }

    /// Sends an interrupt.
    pub async fn interrupt(&self) {
        self.send(&json!([{"type": "user.interrupt"}])).await.ok();
    }

    /// Answers a call that asked.
    pub async fn allow(&self, call: &Value) -> Answer {
        let allow = json!({
            "type": "user.tool_confirmation", "tool_use_id": call["id"], "result": "allow"
        });
        self.send(&json!([allow])).await
    }

    /// Gives the result of a custom tool.
    pub async fn result(&self, call: &Value, text: &str) -> Answer {
        let content = json!([{"type": "text", "text": text}]);
        let result = json!({
            "type": "user.custom_tool_result", "custom_tool_use_id": call["id"], "content": content
        });
        self.send(&json!([result])).await
    }

    /// The session as the API shows it.
    pub async fn show(&self) -> Value {
        self.client.get(&self.path("")).await.ok()
    }

    /// Deletes it.
    pub async fn delete(&self) -> Answer {
        let answer = self.client.delete(&self.path("")).await;
        self.state.lock().unwrap().deleted |= answer.status.is_success();
        answer
    }

    /// Archives it.
    pub async fn archive(&self) -> Answer {
        self.client.post(&self.path("/archive"), &json!({})).await
    }

    /// Every event of the log as bytes, in its order.
    pub async fn list(&self) -> Vec<String> {
        let mut events = Vec::new();
        let mut page = String::new();
        loop {
            let path = self.path(&format!("/events?limit=500{page}"));
            let answer = self.client.get(&path).await;
            assert!(answer.status.is_success(), "{}", answer.text);
            events.extend(elements(&answer.text));
            match answer.json()["next_page"].as_str() {
                Some(next) => page = format!("&page={next}"),
                None => return events,
            }
        }
    }

    /// The marks of its messages, in the order in which they were made.
    #[must_use]
    pub fn marks(&self) -> Vec<String> {
        self.state.lock().unwrap().marks.clone()
    }

    /// What holds for every session: the stream was the log, and the log has what was acknowledged,
    /// once and in order.
    pub async fn check(&self) {
        if self.state.lock().unwrap().deleted {
            return;
        }
        let listed = self.list().await;
        let json = |text: &String| serde_json::from_str::<Value>(text).unwrap();
        let log: Vec<String> = listed
            .into_iter()
            .filter(|event| !json(event)["processed_at"].is_null())
            .collect();
        until("a reader that has seen the log", || {
            let kept = self
                .watch
                .frames()
                .into_iter()
                .filter(|frame| frame.id.is_some());
            (kept.count() >= log.len()).then_some(())
        })
        .await;
        let frames = self.watch.frames();
        let kept: Vec<&Frame> = frames.iter().filter(|frame| frame.id.is_some()).collect();
        let streamed: Vec<&str> = kept.iter().map(|frame| frame.data.as_str()).collect();
        assert_eq!(streamed, log, "the stream is the log, byte for byte");
        assert!(
            kept.is_sorted_by(|one, next| one.id < next.id),
            "numbers grow"
        );
        for frame in &kept {
            assert_eq!(json(&frame.data)["type"], frame.event.as_str());
        }
        let acknowledged = self.state.lock().unwrap().acknowledged.clone();
        let log: Vec<Value> = log.iter().map(json).collect();
        let ids = |only: Option<&str>| -> Vec<&str> {
            let events = log
                .iter()
                .filter(|event| only.is_none_or(|kind| event["type"] == kind));
            let ids = events.map(|event| event["id"].as_str().unwrap());
            ids.filter(|id| acknowledged.iter().any(|of| of == id))
                .collect()
        };
        let sorted = |mut ids: Vec<&str>| -> Vec<String> {
            ids.sort_unstable();
            ids.into_iter().map(str::to_owned).collect()
        };
        let all: Vec<&str> = acknowledged.iter().map(String::as_str).collect();
        assert_eq!(
            sorted(ids(None)),
            sorted(all.clone()),
            "acknowledged is in the log, once"
        );
        // Answers and interrupts go before messages that wait; messages never change places.
        let messages = ids(Some("user.message"));
        let sent: Vec<&str> = all.into_iter().filter(|id| messages.contains(id)).collect();
        assert_eq!(
            messages, sent,
            "messages are in the log in the order of their acknowledgement"
        );
        check_deltas(&frames);
    }
}

/// The texts of deltas are a beginning of the final text.
fn check_deltas(frames: &[Frame]) {
    let json = |frame: &Frame| serde_json::from_str::<Value>(&frame.data).unwrap();
    for (at, frame) in frames.iter().enumerate() {
        if frame.event != "agent.message" {
            continue;
        }
        let event = json(frame);
        let before = frames[..at]
            .iter()
            .filter(|frame| frame.event == "event_delta")
            .map(json);
        let deltas = before.filter(|delta| delta["event_id"] == event["id"]);
        let text: String = deltas
            .map(|delta| {
                delta["delta"]["content"]["text"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        let whole = event["content"][0]["text"].as_str().unwrap();
        assert!(
            whole.starts_with(&text),
            "{text:?} is no beginning of {whole:?}"
        );
    }
}

/// The elements of `data` in a page, as the bytes that they are in it.
fn elements(page: &str) -> Vec<String> {
    let value: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
        serde_json::from_str(page).unwrap();
    let data: Vec<Box<serde_json::value::RawValue>> =
        serde_json::from_str(value["data"].get()).unwrap();
    data.iter()
        .map(|element| element.get().to_owned())
        .collect()
}
