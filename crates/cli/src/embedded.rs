//! A server inside this process: for `serve`, and for verbs that need one just for their run.
//! With `--offline` the scripted model stands in for the real one, on a port of its own.

use server::config::{Config, Credential, Secret, Tls};
use server::wire::WireError;
use server::{Given, StartError};

use crate::client::{Client, key_of_environment};
use crate::failure::Failure;

/// A server and, offline, the model behind it.
pub struct Embedded {
    server: server::Server,
    model: Option<model::Running>,
}

impl Embedded {
    /// Starts both. The server is ready when this returns.
    async fn start(config: Config, offline: bool) -> Result<Embedded, Failure> {
        let given = Given::take(&config).map_err(|error| explain(&error))?;
        Embedded::given(config, offline, given).await
    }

    /// The same, with what was taken before.
    pub async fn given(
        mut config: Config,
        offline: bool,
        given: Given,
    ) -> Result<Embedded, Failure> {
        let model = if offline {
            Some(scripted(&mut config).await?)
        } else {
            None
        };
        let server = server::Server::start_given(config, given).await;
        let server = server.map_err(|error| explain(&error))?;
        Ok(Embedded { server, model })
    }

    /// Starts on a free port of the loopback, for this process alone, and gives a client for it.
    pub async fn private(mut config: Config, offline: bool) -> Result<(Embedded, Client), Failure> {
        config.listen = ([127, 0, 0, 1], 0).into();
        // Its client is this process, which trusts itself and perhaps not the certificate.
        config.tls = Tls::default();
        let key = private_key()?;
        config.api_key = Some(Secret::new(key.clone()));
        let embedded = Embedded::start(config, offline).await?;
        let client = Client::new(&embedded.url(), key)?;
        Ok((embedded, client))
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The server itself.
    pub fn server(&self) -> &server::Server {
        &self.server
    }

    /// The scripted model behind it, offline.
    pub fn model(&self) -> Option<&model::Running> {
        self.model.as_ref()
    }

    /// Stops the server, then the model: turns under way end in order.
    pub async fn stop(self) {
        self.server.shutdown().await;
        if let Some(model) = self.model {
            model.stop().await;
        }
    }
}

async fn scripted(config: &mut Config) -> Result<model::Running, Failure> {
    let model = model::Model::bind(([127, 0, 0, 1], 0).into())
        .await
        .map_err(|error| Failure::caused("cannot start the scripted model", &error))?;
    let running = model.spawn();
    config.model.base_url = running.url();
    // Whatever key the environment holds must not travel to a stand-in.
    config.model.credential = Some(Credential::ApiKey(Secret::new("scripted")));
    Ok(running)
}

/// The key of a server that one command has for itself.
pub fn private_key() -> Result<String, Failure> {
    key_of_environment().map_or_else(random_key, Ok)
}

/// A key for one run: 128 bits from the kernel.
fn random_key() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Failure::new(format!("no randomness: {error}")))?;
    Ok(format!("hk-{:032x}", u128::from_be_bytes(bytes)))
}

/// A server that did not start, with what to do about it.
pub fn explain(error: &StartError) -> Failure {
    let next = match error {
        StartError::Listen { .. } => {
            "take another address with --listen, or end what uses this one"
        }
        StartError::Wire(WireError::Store(_)) => {
            "end the server that uses the directory, or take another one with --data"
        }
        StartError::Tls(_) => {
            "a server that root starts becomes another user (server.user), who must be able to read the files"
        }
        StartError::Wire(WireError::Sandboxes(_) | WireError::Keeper(_)) => {
            "`hostel doctor` says what this machine lacks"
        }
        _ => "`hostel config` shows the settings in effect",
    };
    Failure::caused("cannot start the server", error).next(next)
}
