//! What a canary says and what must come back. Speaks the public API and looks at what the scripted
//! model was asked, nothing else.

use std::time::Duration;

use model::{Recorded, Running};
use semver::Version;
use serde_json::{Value, json};

use crate::client::{Client, Flow, follow};
use crate::failure::Failure;
use crate::run::DEFAULT_MODEL;
use crate::send::message;
use crate::stop;

/// How long a step may take. A cold start takes about a second on an idle machine, and an upgrade
/// has to pass on a busy one.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The first message of the conversation that the next version goes on with. The result of its
/// command stands in no message, so that only a transcript can bring it.
const EARLIER: &str = "The canary's first message.\n\
    @tool Bash {\"command\": \"echo $((6 * 7))-earlier\", \"description\": \"Count\"}\n\
    @say The command said {{result}}";
const EARLIER_MARK: &str = "The canary's first message.";
const EARLIER_RESULT: &str = "42-earlier";
/// The message that goes on with it.
const LATER: &str = "The canary's second message.\n\
    @tool Bash {\"command\": \"echo $((6 * 8))-later\", \"description\": \"Count\"}\n\
    @say The command said {{result}}";
const LATER_RESULT: &str = "48-later";
const GREETING: &str = "@say The canary sings.";
const TOOL: &str = "@tool Write {\"file_path\": \"/workspace/canary.txt\", \"content\": \"seeds\"}\n@next\n\
    @tool Bash {\"command\": \"cat /workspace/canary.txt; echo -$((6 * 9))\", \"description\": \"Look\"}\n\
    @say The command said {{result}}";

/// A conversation with one private server.
pub struct Talk<'a> {
    /// The server.
    pub client: &'a Client,
    /// The model behind it.
    pub model: Option<&'a Running>,
    /// Which version must be speaking.
    pub version: &'a Version,
}

impl Talk<'_> {
    /// Begins the conversation that the next version goes on with: the session.
    pub async fn begin(&self) -> Result<String, Failure> {
        let session = self.session().await?;
        self.turn(&session, EARLIER, EARLIER_RESULT).await?;
        self.is_the_version()?;
        Ok(session)
    }

    /// A new session, and a turn in it.
    pub async fn first(&self) -> Result<String, Failure> {
        let session = self.session().await?;
        self.turn(&session, GREETING, "The canary sings.").await?;
        self.is_the_version()?;
        Ok(session)
    }

    /// A turn with tools in the same session.
    pub async fn tool(&self, session: &str) -> Result<(), Failure> {
        self.turn(session, TOOL, "seeds-54").await
    }

    /// Goes on with the conversation of the version before, which the model must be told whole.
    pub async fn resume(&self, session: &str) -> Result<(), Failure> {
        self.turn(session, LATER, LATER_RESULT).await?;
        let Some(asked) = self.asked().pop() else {
            return Err(Failure::new("the model was never asked"));
        };
        let told = asked.json()["messages"].to_string();
        for (what, times) in [
            (EARLIER_MARK, told.matches(EARLIER_MARK).count()),
            (
                EARLIER_RESULT,
                told.matches(&format!("\"{EARLIER_RESULT}")).count(),
            ),
            (
                LATER_RESULT,
                told.matches(&format!("\"{LATER_RESULT}")).count(),
            ),
        ] {
            if times != 1 {
                return Err(Failure::new(format!(
                    "the conversation that the model was told has {what:?} {times} times"
                )));
            }
        }
        Ok(())
    }

    /// Ends a session.
    pub async fn end(&self, session: &str) -> Result<(), Failure> {
        stop::delete(self.client, session).await.map(drop)
    }

    async fn session(&self) -> Result<String, Failure> {
        let toolset = json!({"type": "agent_toolset_20260401"});
        let agent = json!({"name": "canary", "model": DEFAULT_MODEL, "tools": [toolset]});
        let agent = self.client.post("/v1/agents", &agent).await?;
        let environment = json!({"name": "canary"});
        let environment = self.client.post("/v1/environments", &environment).await?;
        let session = json!({"agent": agent["id"], "environment_id": environment["id"]});
        let session = self.client.post("/v1/sessions", &session).await?;
        Ok(session["id"].as_str().unwrap_or_default().to_owned())
    }

    /// One message, up to the idle after it; the answer must have `expected` in it.
    async fn turn(&self, session: &str, text: &str, expected: &str) -> Result<(), Failure> {
        let path = format!("/v1/sessions/{session}/events");
        let sent = json!({"events": [message(text)]});
        let sent = self.client.post(&path, &sent).await?;
        let mut heard = Heard::after(sent["data"][0]["id"].clone());
        follow(self.client, session, |event| Ok(heard.event(event))).await?;
        if heard.ended_well && heard.said.contains(expected) {
            return Ok(());
        }
        let Heard { said, errors, .. } = heard;
        let errors = if errors.is_empty() {
            "no error was told".to_owned()
        } else {
            errors.join("; ")
        };
        Err(Failure::new(format!(
            "{expected:?} was expected, the agent said {said:?}; {errors}"
        )))
    }

    /// Every CLI tells its number to the model.
    fn is_the_version(&self) -> Result<(), Failure> {
        let name = format!("/{} ", self.version);
        let agents: Vec<String> = self
            .asked()
            .iter()
            .filter_map(|asked| Some(asked.headers.get("user-agent")?.to_str().ok()?.to_owned()))
            .collect();
        match agents.last() {
            Some(agent) if format!("{agent} ").contains(&name) => Ok(()),
            other => Err(Failure::new(format!(
                "claude {} was to speak to the model, but {} did",
                self.version,
                other.map_or("nobody", String::as_str)
            ))),
        }
    }

    /// The conversations that the model was asked to go on with.
    fn asked(&self) -> Vec<Recorded> {
        let all = self.model.map(Running::requests).unwrap_or_default();
        let talks = all.into_iter().filter(|asked| {
            let path = asked.path.split('?').next();
            path == Some("/v1/messages")
        });
        talks.collect()
    }
}

/// What came after one message.
struct Heard {
    message: Value,
    begun: bool,
    said: String,
    errors: Vec<String>,
    ended_well: bool,
}

impl Heard {
    fn after(message: Value) -> Heard {
        Heard {
            message,
            begun: false,
            said: String::new(),
            errors: Vec::new(),
            ended_well: false,
        }
    }

    fn event(&mut self, event: &Value) -> Flow {
        self.begun |= event["id"] == self.message;
        if !self.begun {
            return Flow::Continue;
        }
        match event["type"].as_str().unwrap_or_default() {
            "agent.message" => {
                let blocks = event["content"].as_array().into_iter().flatten();
                self.said
                    .extend(blocks.filter_map(|block| block["text"].as_str()));
                Flow::Continue
            }
            "session.error" => {
                let text = event["error"]["message"].as_str().unwrap_or("an error");
                self.errors.push(text.to_owned());
                Flow::Continue
            }
            "session.status_idle" => {
                self.ended_well = event["stop_reason"]["type"] == "end_turn";
                Flow::Stop
            }
            "session.status_terminated" | "session.deleted" => Flow::Stop,
            _ => Flow::Continue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_follows_the_message_counts() {
        let idle = |reason: &str| json!({"type": "session.status_idle", "id": "e", "stop_reason": {"type": reason}});
        let says = |text: &str| json!({"type": "agent.message", "id": "a", "content": [{"type": "text", "text": text}]});
        let mut heard = Heard::after(json!("m2"));
        for before in [json!({"id": "m1"}), says("before"), idle("end_turn")] {
            assert_eq!(heard.event(&before), Flow::Continue);
        }
        heard.event(&json!({"type": "user.message", "id": "m2"}));
        heard.event(&says("after"));
        heard.event(&json!({"type": "session.error", "id": "x", "error": {"message": "no"}}));
        assert_eq!(heard.event(&idle("retries_exhausted")), Flow::Stop);
        assert_eq!((heard.said.as_str(), heard.ended_well), ("after", false));
        assert_eq!(heard.errors, ["no"]);
    }
}
