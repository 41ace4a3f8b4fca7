//! A trial of an OAuth credential: its MCP server is asked with the token, and where it refuses, a new one
//! is asked for. What hosts say is shown without the secrets in it.

use api::credential::{
    Auth, CredentialValidation, Hidden, HttpResponse, McpProbe, RefreshProbe, RefreshStatus,
    Secrets, Validity,
};
use api::time::Timestamp;
use bytes::Bytes;
use egress::{Answered, CredentialError, ErrandError};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};

use super::Vaults;
use super::renew::Refused;

/// What is read of an answer, and what is shown of it: less, so that no secret is shown in part.
const READ: usize = 12 * 1024;
const SHOWN: usize = 4 * 1024;

/// The MCP method that is asked.
const METHOD: &str = "initialize";
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"hostel","version":"1"}}}"#;

impl Vaults {
    /// Tries a credential; `None` when it is not one of OAuth.
    ///
    /// # Errors
    /// When it is absent or cannot be opened.
    pub async fn validate(
        &self,
        id: &str,
    ) -> Result<Option<CredentialValidation>, CredentialError> {
        let opened = self.open(id).await?;
        let Auth::McpOauth {
            mcp_server_url: url,
            refresh: settings,
            ..
        } = opened.auth.clone()
        else {
            return Ok(None);
        };
        let mut hidden = vec![opened.secrets.clone()];
        let vault_id = opened.row.vault_id.clone();
        let mut answer = self.probe(&url, &opened.secrets).await;
        let mut refresh = None;
        if status(&answer) == Some(StatusCode::UNAUTHORIZED) {
            refresh = Some(match &settings {
                None => probe(RefreshStatus::NoRefreshToken, None),
                Some(settings) => match self.try_renewal(opened, settings).await? {
                    Ok(secrets) => {
                        answer = self.probe(&url, &secrets).await;
                        hidden.push(secrets);
                        probe(RefreshStatus::Succeeded, None)
                    }
                    Err(Refused::Unreachable(_)) => probe(RefreshStatus::ConnectError, None),
                    Err(Refused::Answer(answered)) => {
                        probe(RefreshStatus::Failed, Some(shown(&answered, &hidden)))
                    }
                },
            });
        }
        let unreachable = refresh
            .as_ref()
            .is_some_and(|refresh| refresh.status == RefreshStatus::ConnectError);
        let validity = match status(&answer) {
            Some(status) if status.is_success() => Validity::Valid,
            Some(StatusCode::UNAUTHORIZED) if unreachable => Validity::Unknown,
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Validity::Invalid,
            _ => Validity::Unknown,
        };
        Ok(Some(CredentialValidation {
            kind: Default::default(),
            credential_id: id.to_owned(),
            vault_id,
            status: validity,
            has_refresh_token: settings.is_some(),
            validated_at: Timestamp(self.parts.clock.now()),
            mcp_probe: Some(McpProbe {
                method: METHOD.to_owned(),
                http_response: answer.as_ref().ok().map(|answer| shown(answer, &hidden)),
            }),
            refresh,
        }))
    }

    async fn probe(&self, url: &str, secrets: &Secrets) -> Result<Answered, ErrandError> {
        let token = HeaderValue::from_str(&format!("Bearer {}", secrets.value.expose()));
        let token = token.map_err(|_| ErrandError::Address)?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .header("content-length", INITIALIZE.len())
            .header(AUTHORIZATION, token)
            .body(Bytes::from_static(INITIALIZE.as_bytes()));
        let request = request.map_err(|_| ErrandError::Address)?;
        self.parts.errands.send(request, READ).await
    }
}

fn status(answer: &Result<Answered, ErrandError>) -> Option<StatusCode> {
    answer.as_ref().ok().map(|answer| answer.response.status())
}

fn probe(status: RefreshStatus, http_response: Option<HttpResponse>) -> RefreshProbe {
    RefreshProbe {
        status,
        http_response,
    }
}

/// An answer without the secrets in it.
fn shown(answer: &Answered, hidden: &[Secrets]) -> HttpResponse {
    let response = &answer.response;
    let all = hidden.iter().flat_map(|secrets| {
        let more = [&secrets.refresh_token, &secrets.client_secret];
        let more = more.into_iter().flatten();
        std::iter::once(&secrets.value)
            .chain(more)
            .map(Hidden::expose)
    });
    let values: Vec<&str> = all.collect();
    let body = egress::without(response.body(), &values);
    let body = String::from_utf8_lossy(&body);
    let cut: String = body.chars().take(SHOWN).collect();
    let kind = response.headers().get(CONTENT_TYPE);
    HttpResponse {
        status_code: response.status().as_u16(),
        content_type: kind.and_then(|kind| kind.to_str().ok()).map(str::to_owned),
        body_truncated: answer.truncated || cut.len() < body.len(),
        body: cut,
    }
}
