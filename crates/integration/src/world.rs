//! A world: one server with a data directory, a model and a client of its own.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use model::{Model, Recorded, Running};
use nix::unistd::geteuid;
use serde_json::Value;
use tempfile::TempDir;

use crate::cli::Cli;
use crate::client::Client;
use crate::leftovers;
use crate::process::{Process, Sandbox};
use crate::server::{Recipe, Refused, Server};
use crate::session::{Agent, Session};
use crate::wait::until;

/// The key of the model API: what must never be seen inside a sandbox or in anything that is kept.
pub const MODEL_KEY: &str =
    "sk-ant-api03-Zk3vT9rQ2xLw8NfJ5hYb1cDa7gMe4uPs6oRi0KtXzVqBnHyWjEdCfGlSmAoUpI-AAAAAA";

/// The key of the server's own API.
const API_KEY: &str = "hk-test-0d9f8e7c6b5a49382716f5e4d3c2b1a0";

/// What a world is like.
pub struct Setup {
    settings: Vec<(String, String)>,
    variables: Vec<(String, String)>,
    cli: Cli,
    data: Option<PathBuf>,
    wrapper: Vec<String>,
    owner: Option<u32>,
    log: &'static str,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            settings: Vec::new(),
            variables: Vec::new(),
            cli: Cli::Real,
            data: None,
            wrapper: Vec::new(),
            owner: None,
            log: "info",
        }
    }
}

impl Setup {
    /// With a setting, by its key in the configuration file.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl ToString) -> Setup {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// With a variable of the server's environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Setup {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With another claude.
    #[must_use]
    pub fn cli(self, cli: Cli) -> Setup {
        Setup { cli, ..self }
    }

    /// With the data directory there.
    #[must_use]
    pub fn data(self, data: &Path) -> Setup {
        Setup {
            data: Some(data.to_owned()),
            ..self
        }
    }

    /// Started by this program.
    #[must_use]
    pub fn wrapped(mut self, wrapper: &[&str]) -> Setup {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// With all its files in the hands of this user.
    #[must_use]
    pub fn owned_by(self, user: u32) -> Setup {
        Setup {
            owner: Some(user),
            ..self
        }
    }

    /// With this log level.
    #[must_use]
    pub fn log(self, log: &'static str) -> Setup {
        Setup { log, ..self }
    }

    /// Starts it. None, with a printed reason, where sandboxes cannot be made.
    pub async fn start(self) -> Option<World> {
        let started = self.try_start().await?;
        Some(started.unwrap_or_else(|refused| panic!("the server ended: {}", refused.log)))
    }

    /// Starts it, or gives what the server said when it did not start.
    pub async fn try_start(self) -> Option<Result<World, Refused>> {
        if !geteuid().is_root() {
            skip("sandboxes with all limits need root");
            return None;
        }
        let home = tempfile::Builder::new()
            .prefix("hostel-it-")
            .tempdir()
            .unwrap();
        let data = self.data.unwrap_or_else(|| home.path().join("data"));
        std::fs::create_dir_all(&data).unwrap();
        self.cli.install(&data);
        if let Some(user) = self.owner {
            give(home.path(), user);
        }
        let options = model::Options {
            key: Some(MODEL_KEY.to_owned()),
            ..Default::default()
        };
        let model = Model::bind_with(([127, 0, 0, 1], 0).into(), options)
            .await
            .unwrap()
            .spawn();
        let mut arguments = vec!["--listen".into(), "127.0.0.1:0".into()];
        arguments.extend(["--data".into(), data.clone().into_os_string()]);
        for (key, value) in &self.settings {
            arguments.extend(["--set".into(), format!("{key}={value}").into()]);
        }
        let mut variables = vec![
            ("HOME".to_owned(), home.path().to_str().unwrap().to_owned()),
            ("HOSTEL_API_KEY".to_owned(), API_KEY.to_owned()),
            ("HOSTEL_LOG_LEVEL".to_owned(), self.log.to_owned()),
            ("ANTHROPIC_BASE_URL".to_owned(), model.url()),
            ("ANTHROPIC_API_KEY".to_owned(), MODEL_KEY.to_owned()),
        ];
        variables.extend(self.variables);
        let log = home.path().join("server.log");
        let recipe = Recipe {
            arguments,
            variables,
            wrapper: self.wrapper,
            log,
        };
        let world = World {
            client: Client::new(API_KEY),
            model,
            data,
            recipe,
            server: None,
            known: HashSet::new(),
            sessions: Mutex::default(),
            home,
        };
        Some(world.restarted().await)
    }
}

/// Gives directories to a user. Files stay: the claude CLI's are links to what all tests share.
fn give(directory: &Path, user: u32) {
    std::os::unix::fs::chown(directory, Some(user), Some(user)).unwrap();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            give(&entry.path(), user);
        }
    }
}

/// Prints why a test does not run here, past the capture, where the runner counts it.
pub fn skip(reason: &str) {
    use std::io::Write;
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "skipped: {name}: {reason}");
}

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
        let session = Arc::new(Session::create(self.client.clone(), agent).await);
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

    async fn restarted(mut self) -> Result<World, Refused> {
        let server = Server::start(&self.recipe).await?;
        self.client.moved(&server.url);
        self.server = Some(server);
        Ok(self)
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
