//! A small client of the server's own HTTP interface: requests, pages, the event stream.
//! It speaks the public contract only; nothing here knows the server's insides.

mod answer;
mod follow;
mod sse;

use std::time::Duration;

use serde_json::Value;

use crate::failure::Failure;
pub use follow::{Flow, follow};

/// Where the server is unless told otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8700";
/// A server that does not even accept in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest silence in an answer. Streams carry a sign of life at least every 30 s.
const READ_TIMEOUT: Duration = Duration::from_secs(90);
/// The largest page of most lists.
const PAGE: &str = "1000";

/// Which server, on the command line or in the environment.
#[derive(Clone, Debug, clap::Args)]
pub struct Address {
    /// The server to speak to
    #[arg(
        long = "server",
        env = "HOSTEL_BASE_URL",
        value_name = "URL",
        global = true
    )]
    pub url: Option<String>,
}

/// Speaks to one server with one key.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    key: String,
}

impl Address {
    /// A client for the named server, with the key of the environment.
    pub fn client(&self) -> Result<Client, Failure> {
        let base = self.url.as_deref().unwrap_or(DEFAULT_SERVER);
        let Some(key) = key_of_environment() else {
            return Err(Failure::usage("no key for the server").next(
                "set HOSTEL_API_KEY to the key that the server printed when it first started",
            ));
        };
        Client::new(base, key)
    }
}

/// The key in `HOSTEL_API_KEY`. It has no flag: a command line is visible to every process.
pub fn key_of_environment() -> Option<String> {
    std::env::var("HOSTEL_API_KEY")
        .ok()
        .filter(|key| !key.is_empty())
}

impl Client {
    /// A client for the server at a base URL.
    pub fn new(base: &str, key: String) -> Result<Client, Failure> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(concat!("hostel/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::caused("cannot make an HTTP client", &error))?;
        Ok(Client {
            http,
            base: base.trim_end_matches('/').to_owned(),
            key,
        })
    }

    /// Reads one object.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        self.json(self.http.get(self.url(path)).query(query)).await
    }

    /// Whether a server answers there and is well.
    pub async fn is_there(&self) -> bool {
        self.send(self.http.get(self.url("/healthz"))).await.is_ok()
    }

    /// Creates, updates or does something.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.json(self.http.post(self.url(path)).json(body)).await
    }

    /// Deletes.
    pub async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.json(self.http.delete(self.url(path))).await
    }

    /// Hands every item of a list to `each`, page after page. Lists with smaller pages need their
    /// `limit` in the query.
    pub async fn list(
        &self,
        path: &str,
        query: &[(&str, &str)],
        mut each: impl FnMut(Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut cursor: Option<String> = None;
        loop {
            let mut query = query.to_vec();
            if !query.iter().any(|(name, _)| *name == "limit") {
                query.push(("limit", PAGE));
            }
            if let Some(cursor) = &cursor {
                query.push(("page", cursor));
            }
            let mut page = self.get(path, &query).await?;
            if let Some(Value::Array(items)) = page.get_mut("data").map(Value::take) {
                items.into_iter().try_for_each(&mut each)?;
            }
            cursor = page["next_page"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// Opens the stream of a session's events, text deltas included.
    pub async fn stream(&self, session: &str) -> Result<sse::Stream, Failure> {
        let request = self
            .http
            .get(self.url(&format!("/v1/sessions/{session}/events/stream")))
            .query(&[("event_deltas[]", "agent.message")]);
        Ok(sse::Stream::new(self.send(request).await?))
    }

    /// Hands the content at a path to `each`, piece by piece.
    pub async fn download(
        &self,
        path: &str,
        mut each: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut answer = self.send(self.http.get(self.url(path))).await?;
        let broken = |error| answer::unreachable(&self.base, &error);
        while let Some(piece) = answer.chunk().await.map_err(broken)? {
            each(&piece)?;
        }
        Ok(())
    }

    async fn json(&self, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let answer = self.send(request).await?;
        let bytes = answer
            .bytes()
            .await
            .map_err(|error| answer::unreachable(&self.base, &error))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::caused("the server answered something that is not JSON", &error)
                .next(format!("is {} a Hostel server?", self.base))
        })
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, Failure> {
        let answer = request
            .bearer_auth(&self.key)
            .send()
            .await
            .map_err(|error| answer::unreachable(&self.base, &error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = answer.bytes().await.unwrap_or_default();
        Err(answer::refused(status, &body))
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}
