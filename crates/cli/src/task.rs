//! One task from beginning to end: an agent, an ephemeral environment and a session are made, the task
//! is sent, the events are shown as they come, its results are saved or their places told, and what was
//! made is taken away again, but for results that are nowhere else.

use std::time::Instant;

use serde_json::{Value, json};

use crate::client::{Client, Flow, follow};
use crate::events::print;
use crate::failure::Failure;
use crate::output::{Output, line};
use crate::results::{self, Place};
use crate::send::message;
use crate::show::{Show, Totals};
use crate::stop;

/// What is to be done, and by whom.
pub struct Task {
    /// The words for the agent.
    pub text: String,
    /// An existing agent's id; none makes one.
    pub agent: Option<String>,
    /// An existing environment's id; none makes one.
    pub environment: Option<String>,
    /// The model of a made agent.
    pub model: String,
    /// The system prompt of a made agent.
    pub system: Option<String>,
    /// The only built-in tools of a made agent; all when empty.
    pub tools: Vec<String>,
    /// Whether the session, which takes further messages then, and what was made for it stay.
    pub keep: bool,
    /// Where its results go.
    pub results: Place,
}

/// How it ended.
pub struct Ended {
    /// Whether the agent came to its own end.
    pub finished: bool,
    /// The model requests.
    pub totals: Totals,
    /// Whole US cents as the server says them; none when it does not.
    pub cents: Option<String>,
    /// From the first request to the last event, in seconds.
    pub seconds: f64,
}

/// What exists on the server because of this task, in the order in which it goes away.
#[derive(Default)]
struct Made {
    session: Option<String>,
    environment: Option<String>,
    agent: Option<String>,
    /// The session has results that were not saved, so it stays.
    results: bool,
}

/// Does the task. Interrupted by Ctrl-C, it stops the session and cleans up all the same.
pub async fn perform(client: &Client, task: &Task, output: Output) -> Result<Ended, Failure> {
    task.results.prepare()?;
    let mut made = Made::default();
    let result = tokio::select! {
        result = work(client, task, output, &mut made) => result,
        _ = tokio::signal::ctrl_c() => Err(Failure::new("interrupted")),
    };
    let cleaned = if task.keep {
        Ok(())
    } else {
        made.clean(client).await
    };
    let ended = result?;
    cleaned?;
    Ok(ended)
}

async fn work(
    client: &Client,
    task: &Task,
    output: Output,
    made: &mut Made,
) -> Result<Ended, Failure> {
    let started = Instant::now();
    let agent = match &task.agent {
        Some(id) => id.clone(),
        None => made
            .agent
            .insert(create(client, "/v1/agents", &agent_body(task)).await?)
            .clone(),
    };
    let environment = match &task.environment {
        Some(id) => id.clone(),
        None => {
            let body = environment_body(task.keep);
            made.environment
                .insert(create(client, "/v1/environments", &body).await?)
                .clone()
        }
    };
    let ends = ends_by_itself(client, &environment).await?;
    let body = json!({
        "agent": agent,
        "environment_id": environment,
        "title": title(&task.text),
        "initial_events": [message(&task.text)],
    });
    let session = made
        .session
        .insert(create(client, "/v1/sessions", &body).await?)
        .clone();
    if !output.json {
        line(&format!("session {session}"))?;
    }
    let mut show = Show::new(output.colour);
    let (mut finished, mut cents) = (false, None);
    follow(client, &session, |event| {
        // That a finished task's session is over goes without saying.
        if output.json || !(finished && event["type"] == "session.status_terminated") {
            print(&mut show, event, output)?;
        }
        if let Some(amount) = event["usage"]["list_cost"]["amount"].as_str() {
            cents = Some(amount.to_owned());
        }
        let end = ending(event);
        finished = end.unwrap_or(finished) || finished;
        // Its results are kept before it is over.
        let more = end.is_none() || (end == Some(true) && ends);
        Ok(if more { Flow::Continue } else { Flow::Stop })
    })
    .await?;
    // Of one that goes on, no event says when its results are kept.
    if finished && ends {
        made.results = true;
        let results = results::tell(client, &session, &task.results, output).await?;
        made.results = results > 0 && !task.results.saves();
    }
    Ok(Ended {
        finished,
        totals: show.totals(),
        cents,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Whether this event ends the task, and whether it ends it well.
fn ending(event: &Value) -> Option<bool> {
    match event["type"].as_str()? {
        "session.status_idle" => Some(event["stop_reason"]["type"] == "end_turn"),
        "session.status_terminated" | "session.deleted" => Some(false),
        _ => None,
    }
}

/// Whether a session of this environment is over when its task is done.
async fn ends_by_itself(client: &Client, environment: &str) -> Result<bool, Failure> {
    let path = format!("/v1/environments/{environment}");
    let view = client.get(&path, &[]).await?;
    let hosting = &view["config"]["hosting"];
    Ok(hosting["pattern"] == "ephemeral" && hosting["when_done"] != "keep")
}

/// One sandbox for the task.
fn environment_body(keep: bool) -> Value {
    let when_done = if keep { "keep" } else { "terminate" };
    let hosting = json!({"pattern": "ephemeral", "when_done": when_done});
    json!({"name": "hostel run", "config": {"type": "cloud", "hosting": hosting}})
}

async fn create(client: &Client, path: &str, body: &Value) -> Result<String, Failure> {
    let answer = client.post(path, body).await?;
    match answer["id"].as_str() {
        Some(id) => Ok(id.to_owned()),
        None => Err(Failure::new(format!(
            "the server created something without an id at {path}"
        ))),
    }
}

fn agent_body(task: &Task) -> Value {
    let mut toolset = json!({"type": "agent_toolset_20260401"});
    if !task.tools.is_empty() {
        let only: Vec<Value> = task
            .tools
            .iter()
            .map(|name| json!({"name": name, "enabled": true}))
            .collect();
        toolset["default_config"] = json!({"enabled": false});
        toolset["configs"] = Value::Array(only);
    }
    let mut body = json!({"name": "hostel run", "model": task.model, "tools": [toolset]});
    if let Some(system) = &task.system {
        body["system"] = json!(system);
    }
    body
}

/// The first line of the task, as far as a list has room for it.
fn title(text: &str) -> String {
    let line = text
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("task")
        .trim();
    line.chars().take(80).collect()
}

impl Made {
    /// Takes away what was made. Every step is tried; the first failure is told.
    async fn clean(self, client: &Client) -> Result<(), Failure> {
        let mut result = Ok(());
        if let Some(session) = self.session.as_ref().filter(|_| !self.results) {
            result = result.and(stop::delete(client, session).await.map(drop));
        }
        if let Some(environment) = &self.environment {
            let path = format!("/v1/environments/{environment}");
            let gone = if self.results {
                // It has a session, and so can only be archived.
                client.post(&format!("{path}/archive"), &json!({})).await
            } else {
                client.delete(&path).await
            };
            result = result.and(gone.map(drop));
        }
        if let Some(agent) = &self.agent {
            // Agents are never deleted: others' sessions may point at their versions.
            result = result.and(
                client
                    .post(&format!("/v1/agents/{agent}/archive"), &json!({}))
                    .await
                    .map(drop),
            );
        }
        result
    }
}

impl Ended {
    /// One line for people.
    pub fn summary(&self) -> String {
        let Totals {
            requests,
            input,
            output,
        } = self.totals;
        let how = if self.finished {
            "done"
        } else {
            "not finished"
        };
        let cost = self
            .cents
            .as_deref()
            .map_or_else(String::new, |cents| format!(", {}", dollars(cents)));
        format!(
            "{how} in {:.1} s: {requests} model requests, {input} tokens in, {output} out{cost}",
            self.seconds
        )
    }
}

/// Cents in the server's decimal form, as dollars.
fn dollars(cents: &str) -> String {
    match cents.parse::<f64>() {
        Ok(cents) if cents.is_finite() => format!("${:.4}", cents / 100.0),
        _ => format!("{cents} cents"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(tools: &[&str]) -> Task {
        Task {
            text: "\n  do it  \nnow".into(),
            agent: None,
            environment: None,
            model: "m".into(),
            system: None,
            tools: tools.iter().map(|name| (*name).to_owned()).collect(),
            keep: false,
            results: Place::Server,
        }
    }

    #[test]
    fn named_tools_are_the_only_ones() {
        let body = agent_body(&task(&["bash"]));
        assert_eq!(body["tools"][0]["default_config"]["enabled"], false);
        assert_eq!(body["tools"][0]["configs"][0]["name"], "bash");
        assert!(agent_body(&task(&[]))["tools"][0].get("configs").is_none());
    }

    #[test]
    fn only_the_agents_own_end_is_a_good_one() {
        let idle =
            |reason: &str| json!({"type": "session.status_idle", "stop_reason": {"type": reason}});
        assert_eq!(ending(&idle("end_turn")), Some(true));
        assert_eq!(ending(&idle("retries_exhausted")), Some(false));
        assert_eq!(
            ending(&json!({"type": "session.status_terminated"})),
            Some(false)
        );
        assert_eq!(ending(&json!({"type": "agent.message"})), None);
    }

    #[test]
    fn a_title_is_the_first_line() {
        assert_eq!(title(&task(&[]).text), "do it");
        assert_eq!(dollars("2500"), "$25.0000");
    }
}
