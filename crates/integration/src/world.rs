//! A world: one server with a data directory, a model and a client of its own.

mod hosting;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use model::{Recorded, Running};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::Client;
use crate::leftovers;
use crate::process::{Process, Sandbox};
use crate::server::{Recipe, Refused, Server};
use crate::session::{Agent, Session};
use crate::setup::Setup;
use crate::wait::until;

/// The world.
pub struct World {
    /// Speaks to the server.
    pub client: Client,
    /// The model behind it.
    pub model: Running,
    /// The server's data directory.
    pub data: PathBuf,
    recipe: Recipe,
    server: Option<Server>,
    /// Processes of the server's that were seen.
    known: HashSet<Process>,
    sessions: Mutex<Vec<Arc<Session>>>,
    home: TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        // Only after a failure: what the server leaves is removed, so that the next test is not
        // disturbed, and its last words are shown.
        if let Some(mut server) = self.server.take() {
            for session in &*self.sessions.lock().unwrap() {
                for frame in session
                    .watch
                    .frames()
                    .iter()
                    .filter(|frame| frame.id.is_some())
                {
                    eprintln!("{} {:.300}", frame.event, frame.data);
                }
            }
            let log = self.log();
            let telling = log.lines().filter(|line| !line.contains("answered 200"));
            eprintln!(
                "the server's log:\n{}",
                telling.collect::<Vec<_>>().join("\n")
            );
            server.end();
            leftovers::remove_groups(&self.data);
        }
    }
}

impl World {
    /// The usual one.
    pub async fn new() -> Option<World> {
        Setup::default().start().await
    }

    /// A new session with this agent.
    pub async fn session(&self, agent: &Agent) -> Arc<Session> {
        self.session_with(agent, &Value::Null).await
    }

    /// A new session with this agent, of another caller.
    pub async fn session_of(&self, client: Client, agent: &Agent) -> Arc<Session> {
        let session = Arc::new(Session::create(client, agent, &Value::Null).await);
        self.sessions.lock().unwrap().push(session.clone());
        session
    }

    /// A new session with this agent and these fields of its own.
    pub async fn session_with(&self, agent: &Agent, more: &Value) -> Arc<Session> {
        let session = Arc::new(Session::create(self.client.clone(), agent, more).await);
        self.sessions.lock().unwrap().push(session.clone());
        session
    }

    /// The server's process.
    #[must_use]
    pub fn server(&self) -> Process {
        self.server.as_ref().unwrap().process
    }

    /// All that the server has logged.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.recipe.log).unwrap_or_default()).into_owned()
    }

    /// The only sandbox, once it has a first process.
    pub async fn sandbox(&self) -> Sandbox {
        until("one sandbox", || {
            let mut all = Sandbox::all(&self.data);
            (all.len() == 1).then(|| all.remove(0))
        })
        .await
    }

    /// Remembers what runs now, to look for it at the end.
    pub fn note(&mut self) {
        let process = self.server();
        self.known.extend(process.descendants());
        self.known.insert(process);
    }

    /// kill -9 of the server.
    pub async fn crash(&mut self) {
        self.note();
        self.server.take().unwrap().crash().await;
    }

    /// Starts the server again on the same directory, after [`World::crash`] or [`World::stop`].
    pub async fn restart(&mut self) {
        let server = Server::start(&self.recipe).await;
        let server = server.unwrap_or_else(|refused| panic!("no restart: {}", refused.log));
        self.client.moved(&server.url);
        self.server = Some(server);
    }

    /// A world whose server is started.
    pub(crate) async fn begin(
        client: Client,
        model: Running,
        data: PathBuf,
        recipe: Recipe,
        home: TempDir,
    ) -> Result<World, Refused> {
        let server = Server::start(&recipe).await.inspect_err(|refused| {
            let left = leftovers::of(&data, &HashSet::new());
            assert!(left.is_empty(), "{left:#?}\n{}", refused.log);
        })?;
        client.moved(&server.url);
        let (known, sessions) = (HashSet::new(), Mutex::default());
        let server = Some(server);
        Ok(World {
            client,
            model,
            data,
            recipe,
            server,
            known,
            sessions,
            home,
        })
    }

    /// Waits until the server has ended by itself; how, and what it said until then.
    pub async fn ended(&mut self) -> (std::process::ExitStatus, String) {
        let status = self.server.take().unwrap().ended().await;
        (status, self.log())
    }

    /// The keeper behind the server, where there is one.
    #[must_use]
    pub fn keeper(&self) -> Option<Process> {
        let below = self.server().descendants().into_iter();
        let is_keeper = |process: &Process| {
            let arguments = process.arguments();
            arguments
                .get(1)
                .is_some_and(|word| word == "sandbox-keeper")
        };
        below.into_iter().find(is_keeper)
    }

    /// With another value of a setting at the next start.
    pub fn set(&mut self, key: &str, value: &str) {
        let words = ["--set".into(), format!("{key}={value}").into()];
        self.recipe.arguments.extend(words);
    }

    /// Tries to start a second server on the same directory, with the address given.
    pub async fn rival(&self, listen: &str) -> Refused {
        let mut recipe = self.recipe.clone();
        recipe
            .arguments
            .extend(["--set".into(), format!("listen={listen}").into()]);
        if let Some(at) = recipe.arguments.iter().position(|word| word == "--listen") {
            recipe.arguments.drain(at..at + 2);
        }
        match Server::start(&recipe).await {
            Err(refused) => refused,
            Ok(server) => {
                server.stop().await;
                panic!("a second server started")
            }
        }
    }

    /// Asks the server to stop and waits until it has, with nothing left.
    pub async fn stop(&mut self) {
        self.note();
        let status = self.server.take().unwrap().stop().await;
        assert!(
            status.success(),
            "the server ended with {status}:\n{}",
            self.log()
        );
        let left = leftovers::of(&self.data, &self.known);
        assert!(left.is_empty(), "{left:#?}\n{}", self.log());
    }

    /// Waits until everything that ran has ended, without a server to end it.
    pub async fn deserted(&self) {
        until("the end of all that a killed server ran", || {
            (!self.known.iter().any(|process| process.lives())).then_some(())
        })
        .await;
    }

    /// Checks what must hold whatever the test did, and ends everything.
    pub async fn end(mut self) {
        let sessions = std::mem::take(&mut *self.sessions.lock().unwrap());
        for session in &sessions {
            session.check().await;
            self.once(session);
        }
        drop(sessions);
        self.stop().await;
        assert!(self.home.path().exists());
    }

    /// The conversations that the model was asked to go on with, oldest first.
    #[must_use]
    pub fn asked(&self) -> Vec<Recorded> {
        let requests = self.model.requests().into_iter();
        requests
            .filter(|request| request.path.starts_with("/v1/messages"))
            .collect()
    }

    /// No message of the session is twice in any conversation that the model saw.
    fn once(&self, session: &Session) {
        for request in self.asked() {
            let said = said(&request.json());
            for mark in session.marks() {
                let times = said.matches(&mark).count();
                assert!(
                    times <= 1,
                    "{mark} {times} times in one conversation:\n{said}"
                );
            }
        }
    }

    /// Fails unless the last conversation that the model saw has all messages of the session so far,
    /// in their order.
    pub fn remembered(&self, session: &Session) {
        let marks = session.marks();
        let newest = marks.last().unwrap();
        let asked = self.asked();
        let last = asked.iter().rev().map(|request| said(&request.json()));
        let last = last.into_iter().find(|said| said.contains(newest));
        let last = last.unwrap_or_else(|| panic!("the model never saw {newest}"));
        let places: Vec<Option<usize>> =
            marks.iter().map(|mark| last.find(mark.as_str())).collect();
        assert!(places.iter().all(Option::is_some), "{marks:?} in {last}");
        assert!(places.is_sorted(), "{marks:?} in {last}");
    }
}

/// All that a user said in a conversation.
fn said(request: &Value) -> String {
    let messages = request["messages"].as_array().into_iter().flatten();
    let user = messages.filter(|message| message["role"] == "user");
    let texts = user.flat_map(|message| match &message["content"] {
        Value::String(text) => vec![text.clone()],
        Value::Array(blocks) => {
            let texts = blocks.iter().filter_map(|block| block["text"].as_str());
            texts.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    });
    texts.collect::<Vec<_>>().join("\n")
}
