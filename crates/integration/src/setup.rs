//! What a world is like before it begins: settings, variables, which claude, where its data lies and
//! who starts it.

use std::path::{Path, PathBuf};

use model::Model;
use nix::unistd::geteuid;

use crate::cli::Cli;
use crate::client::Client;
use crate::server::{Recipe, Refused};
use crate::world::World;

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
        Some(World::begin(Client::new(API_KEY), model, data, recipe, home).await)
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
