//! Sessions of environments that say how they are hosted, and the sandboxes that come of it.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::World;
use crate::process::{Process, Sandbox};
use crate::session::{Agent, Session};
use crate::wait::until;

impl World {
    /// A new environment with this `config.hosting`; its id.
    pub async fn environment(&self, hosting: &Value) -> String {
        let config = json!({"type": "cloud", "hosting": hosting});
        let made = json!({"name": "hosted", "config": config});
        let made = self.client.post("/v1/environments", &made).await.ok();
        made["id"].as_str().unwrap().to_owned()
    }

    /// A new agent; its id.
    pub async fn agent(&self, agent: &Agent) -> String {
        let made = self.client.post("/v1/agents", &agent.body()).await.ok();
        made["id"].as_str().unwrap().to_owned()
    }

    /// A new session of an agent in an environment, by their ids.
    pub async fn hosted(&self, agent: &str, environment: &str) -> Arc<Session> {
        let wanted = json!({"agent": agent, "environment_id": environment});
        let made = self.client.post("/v1/sessions", &wanted).await.ok();
        self.adopt(made["id"].as_str().unwrap())
    }

    /// A new session from another's log.
    pub async fn fork(&self, session: &Session, request: &Value) -> Arc<Session> {
        let made = self.client.post(&session.path("/fork"), request).await;
        let fork = self.adopt(made.ok()["id"].as_str().unwrap());
        fork.catch_up().await;
        fork
    }

    fn adopt(&self, id: &str) -> Arc<Session> {
        let session = Arc::new(Session::at(self.client.clone(), id));
        self.sessions.lock().unwrap().push(session.clone());
        session
    }

    /// The sandboxes, once there are so many.
    pub async fn sandboxes(&self, count: usize) -> Vec<Sandbox> {
        until(&format!("{count} sandboxes"), || {
            let all = Sandbox::all(&self.data);
            (all.len() == count).then_some(all)
        })
        .await
    }

    /// The only sandbox that is not among these, once there is one.
    pub async fn new_sandbox(&self, old: &[Sandbox]) -> Sandbox {
        until("a new sandbox", || {
            let known: HashSet<&String> = old.iter().map(|sandbox| &sandbox.id).collect();
            let mut all = Sandbox::all(&self.data);
            all.retain(|sandbox| !known.contains(&sandbox.id));
            (all.len() == 1).then(|| all.remove(0))
        })
        .await
    }

    /// Waits until a sandbox is gone with all that ran in it.
    pub async fn gone(&self, sandbox: &Sandbox, processes: &[Process]) {
        until("the end of a sandbox", || {
            let lives = processes.iter().any(|process| process.lives());
            let listed = self.data.join("sandboxes").join(&sandbox.id).exists();
            (!lives && !sandbox.guest.lives() && !listed).then_some(())
        })
        .await;
    }
}
