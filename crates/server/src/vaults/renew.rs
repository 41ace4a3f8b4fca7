//! New tokens of OAuth credentials (RFC 6749, section 6), asked for by one at a time: who comes meanwhile
//! waits and takes what the first one got.
//!
//! A new token is sealed and stored before anybody uses it. An endpoint that failed is left alone for a
//! while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::credential::{Auth, ClientAuth, Hidden, Refresh, Secrets};
use api::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::TimeDelta;
use egress::{Answered, CredentialError, ErrandError};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use serde::Deserialize;
use store::UpdateCredentialError;
use tokio::sync::Mutex as Turn;
use tokio::time::Instant;

use super::open::Opened;
use super::{Vaults, seal};

/// How long an endpoint that failed is left alone.
const PAUSE: Duration = Duration::from_secs(30);
/// Bytes of a token endpoint's answer.
const ANSWER: usize = 64 * 1024;
/// Credentials whose last failure is remembered. Beyond it those that nobody waits for are forgotten.
const REMEMBERED: usize = 1024;
/// How often a new token is stored again because somebody else changed the credential meanwhile.
const ATTEMPTS: usize = 5;

/// Who renews what.
#[derive(Default)]
pub(super) struct Renewing(Mutex<HashMap<String, Arc<Turn<Option<Failure>>>>>);

/// The last try failed.
struct Failure {
    until: Instant,
    revision: u32,
    why: String,
}

/// What became of it.
pub(super) enum Renewal {
    /// There is a new token, by this or by somebody else before.
    Done(Secrets),
    /// There is nothing to ask with.
    Nothing,
    /// It failed, in a few words.
    Failed(String),
}

/// Why a token endpoint gave no token.
pub(super) enum Refused {
    /// There was no answer.
    Unreachable(ErrandError),
    /// There was another answer.
    Answer(Answered),
}

impl Renewing {
    fn turn(&self, id: &str) -> Arc<Turn<Option<Failure>>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
            all.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(all.entry(id.to_owned()).or_default())
    }
}

impl Vaults {
    /// Asks for another token than `old`, unless there is one already.
    pub(super) async fn renew(&self, id: &str, old: &Hidden) -> Result<Renewal, CredentialError> {
        let turn = self.renewing.turn(id);
        let mut failure = turn.lock().await;
        let opened = self.open(id).await?;
        if opened.secrets.value != *old {
            return Ok(Renewal::Done(opened.secrets));
        }
        let Auth::McpOauth {
            refresh: Some(refresh),
            ..
        } = &opened.auth
        else {
            return Ok(Renewal::Nothing);
        };
        if let Some(failed) = &*failure
            && failed.revision == opened.row.revision
            && Instant::now() < failed.until
        {
            return Ok(Renewal::Failed(failed.why.clone()));
        }
        let why = match self.ask(refresh, &opened.secrets).await {
            Ok(new) => {
                *failure = None;
                return self.keep(opened, old, &new).await.map(Renewal::Done);
            }
            Err(Refused::Unreachable(error)) => format!("no new one could be had: {error}"),
            Err(Refused::Answer(answered)) => {
                let status = answered.response.status();
                format!("its token endpoint gave no new one ({status})")
            }
        };
        *failure = Some(Failure {
            until: Instant::now() + PAUSE,
            revision: opened.row.revision,
            why: why.clone(),
        });
        Ok(Renewal::Failed(why))
    }

    /// Asks a token endpoint.
    async fn ask(&self, refresh: &Refresh, secrets: &Secrets) -> Result<Token, Refused> {
        let request = request(refresh, secrets).ok_or(ErrandError::Address);
        let request = request.map_err(Refused::Unreachable)?;
        let answered = self.parts.errands.send(request, ANSWER).await;
        let answered = answered.map_err(Refused::Unreachable)?;
        let token = match answered.response.status() {
            StatusCode::OK => serde_json::from_slice(answered.response.body()).ok(),
            _ => None,
        };
        let usable = |token: &Token| {
            let text = &token.access_token;
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        token.filter(usable).ok_or(Refused::Answer(answered))
    }

    /// Seals and stores a new token. A change that came meanwhile stays, and goes before it where it is
    /// a token as well.
    async fn keep(
        &self,
        mut opened: Opened,
        old: &Hidden,
        new: &Token,
    ) -> Result<Secrets, CredentialError> {
        let id = opened.row.id.clone();
        for _ in 0..ATTEMPTS {
            let now = self.parts.clock.now();
            opened.secrets.value = Hidden::new(&*new.access_token);
            if let Some(token) = &new.refresh_token {
                opened.secrets.refresh_token = Some(Hidden::new(&**token));
            }
            if let Auth::McpOauth { expires_at, .. } = &mut opened.auth {
                // Longer than a century is no end.
                let lasts = new
                    .expires_in
                    .filter(|seconds| (0.0..3e9).contains(seconds));
                let lasts = lasts.map(|seconds| TimeDelta::milliseconds((seconds * 1e3) as i64));
                *expires_at = lasts.map(|lasts| Timestamp(now + lasts));
            }
            let mut row = opened.row;
            let auth = serde_json::to_string(&opened.auth);
            row.auth = auth.map_err(|_| CredentialError::Unavailable)?;
            row.sealed = Some(seal::seal(&self.parts.keys, &row, &opened.secrets));
            match self.parts.store.credentials().update(row, now).await {
                Ok(_) => {
                    tracing::info!(credential.id = id, "credential {id} has a new token");
                    return Ok(opened.secrets);
                }
                Err(UpdateCredentialError::RevisionMismatch { .. }) => {
                    opened = self.open(&id).await?;
                    if opened.secrets.value != *old {
                        return Ok(opened.secrets);
                    }
                }
                Err(UpdateCredentialError::NotFound | UpdateCredentialError::Archived) => {
                    return Err(CredentialError::Missing);
                }
                Err(UpdateCredentialError::Store(error)) => {
                    tracing::error!(
                        credential.id = id,
                        error = &error as &dyn std::error::Error,
                        "the new token of credential {id} could not be kept and is lost"
                    );
                    return Err(CredentialError::Unavailable);
                }
            }
        }
        Err(CredentialError::Unavailable)
    }

    /// Renews for a trial, whatever failed before: what became of it, and what the endpoint said when it
    /// was no token.
    pub(super) async fn try_renewal(
        &self,
        opened: Opened,
        refresh: &Refresh,
    ) -> Result<Result<Secrets, Refused>, CredentialError> {
        let turn = self.renewing.turn(&opened.row.id);
        let mut failure = turn.lock().await;
        let old = opened.secrets.value.clone();
        let now = self.open(&opened.row.id).await?;
        if now.secrets.value != old {
            return Ok(Ok(now.secrets));
        }
        match self.ask(refresh, &now.secrets).await {
            Ok(new) => {
                *failure = None;
                self.keep(now, &old, &new).await.map(Ok)
            }
            Err(refused) => Ok(Err(refused)),
        }
    }
}

/// What a token endpoint gives. Without `Debug`: it is secret.
#[derive(Deserialize)]
struct Token {
    access_token: String,
    expires_in: Option<f64>,
    refresh_token: Option<String>,
}

fn request(refresh: &Refresh, secrets: &Secrets) -> Option<Request<Bytes>> {
    let token = secrets.refresh_token.as_ref()?.expose();
    let secret = secrets.client_secret.as_ref().map(Hidden::expose);
    let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", token)];
    let mut basic = None;
    match refresh.token_endpoint_auth {
        ClientAuth::None => form.push(("client_id", &refresh.client_id)),
        ClientAuth::ClientSecretPost => {
            form.push(("client_id", &refresh.client_id));
            form.push(("client_secret", secret?));
        }
        ClientAuth::ClientSecretBasic => {
            let pair = format!("{}:{}", encode(&refresh.client_id), encode(secret?));
            basic = Some(format!("Basic {}", STANDARD.encode(pair)));
        }
    }
    form.extend(refresh.scope.as_deref().map(|scope| ("scope", scope)));
    form.extend(
        refresh
            .resource
            .as_deref()
            .map(|resource| ("resource", resource)),
    );
    let form: Vec<String> = form
        .into_iter()
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
    let form = form.join("&");
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&refresh.token_endpoint)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .header("content-length", form.len());
    if let Some(basic) = basic {
        request = request.header(AUTHORIZATION, basic);
    }
    request.body(Bytes::from(form)).ok()
}

/// As it stands in a form.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
