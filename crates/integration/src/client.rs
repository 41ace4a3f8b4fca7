//! Plain HTTP to one server, wherever it is after its last restart.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

use crate::wait::PATIENCE;

/// A caller with a key.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: Arc<Mutex<String>>,
    key: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body as it came.
    pub text: String,
}

impl Answer {
    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// The body of a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()
    }

    /// Fails unless this is an error of the contract with this status, type and message.
    #[track_caller]
    pub fn refused(&self, status: u16, kind: &str, message: &str) {
        let body = self.json();
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(body["type"], "error", "{}", self.text);
        assert_eq!(body["error"]["type"], kind, "{}", self.text);
        let said = body["error"]["message"].as_str().unwrap_or_default();
        assert!(
            said.contains(message),
            "{said:?} does not contain {message:?}"
        );
    }
}

impl Client {
    pub(crate) fn new(key: &str) -> Client {
        // An error means that another test of this process was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(10))
            // A test's server signs for itself where it speaks TLS.
            .tls_danger_accept_invalid_certs(true)
            .build()
            .unwrap();
        Client {
            http,
            url: Arc::default(),
            key: key.to_owned(),
        }
    }

    /// The same with another key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Client {
        Client {
            key: key.to_owned(),
            ..self.clone()
        }
    }

    /// The server's address.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.lock().unwrap().clone()
    }

    /// Host and port of it.
    #[must_use]
    pub fn authority(&self) -> String {
        let url = self.url();
        url.split_once("://")
            .map_or(url.as_str(), |(_, rest)| rest)
            .to_owned()
    }

    pub(crate) fn moved(&self, url: &str) {
        url.clone_into(&mut self.url.lock().unwrap());
    }

    /// The key it comes with.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A request with the key.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.url());
        self.http.request(method, url).bearer_auth(&self.key)
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// When there is none.
    pub async fn try_send(&self, request: RequestBuilder) -> reqwest::Result<Answer> {
        let response = request.timeout(PATIENCE).send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Answer {
            status,
            headers,
            text: response.text().await?,
        })
    }

    /// Sends a request and reads the answer.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap()
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }
}
