//! The request that makes a credential.

use serde_json::Value;

use super::auth::check_name;
use super::secrets::{check_length, check_value};
use super::{Auth, ClientAuth, Hidden, InjectionLocation, Refresh, Secrets, address};
use crate::error::Invalid;
use crate::limits;
use crate::metadata::{Metadata, NewMetadata};
use crate::patch::Patch;
use crate::read::{At, Fields, Read, quoted};
use crate::time::Timestamp;

/// A credential to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateCredential {
    /// What it is for.
    pub auth: Auth,
    /// Its secrets.
    pub secrets: Secrets,
    /// A name for people.
    pub display_name: Option<String>,
    /// The client's own map.
    pub metadata: Metadata,
}

impl Read for CreateCredential {
    fn read(value: Value, at: At<'_>) -> Result<CreateCredential, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let New { auth, secrets } = fields.required("auth")?;
        let display_name: Option<String> = fields.optional("display_name")?;
        let metadata = fields.optional::<NewMetadata>("metadata")?;
        fields.finish()?;
        let name = display_name.as_deref().unwrap_or("");
        limits::text(name, 0, limits::DISPLAY_NAME, at.key("display_name"))?;
        Ok(CreateCredential {
            auth,
            secrets,
            display_name,
            metadata: metadata.unwrap_or_default().0,
        })
    }
}

/// `auth` of a new credential.
struct New {
    auth: Auth,
    secrets: Secrets,
}

impl Read for New {
    fn read(value: Value, at: At<'_>) -> Result<New, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let new = match fields.tag("type")?.as_str() {
            "mcp_oauth" => oauth(&mut fields, at)?,
            "static_bearer" => bearer(&mut fields, at)?,
            "environment_variable" => variable(&mut fields, at)?,
            other => {
                let rule = "must be `mcp_oauth`, `static_bearer` or `environment_variable`";
                let message = format!("{rule}, got {}", quoted(other));
                return Err(at.key("type").invalid(message));
            }
        };
        fields.finish()?;
        Ok(new)
    }
}

fn server(fields: &mut Fields<'_>, at: At<'_>) -> Result<String, Invalid> {
    let url: String = fields.required("mcp_server_url")?;
    address::check(&url, at.key("mcp_server_url"))?;
    Ok(url)
}

fn oauth(fields: &mut Fields<'_>, at: At<'_>) -> Result<New, Invalid> {
    let mcp_server_url = server(fields, at)?;
    let value: Hidden = fields.required("access_token")?;
    check_value(&value, limits::TOKEN, true, at.key("access_token"))?;
    let expires_at = expiry(fields.patch("expires_at")?)?.value();
    let refresh = fields.optional::<NewRefresh>("refresh")?;
    let mut secrets = Secrets {
        value,
        refresh_token: None,
        client_secret: None,
    };
    let refresh = refresh.map(|new| {
        secrets.refresh_token = Some(new.token);
        secrets.client_secret = new.client_secret;
        new.refresh
    });
    let auth = Auth::McpOauth {
        mcp_server_url,
        expires_at,
        refresh,
    };
    Ok(New { auth, secrets })
}

fn bearer(fields: &mut Fields<'_>, at: At<'_>) -> Result<New, Invalid> {
    let mcp_server_url = server(fields, at)?;
    let value: Hidden = fields.required("token")?;
    check_value(&value, limits::TOKEN, true, at.key("token"))?;
    Ok(New {
        auth: Auth::StaticBearer { mcp_server_url },
        secrets: only(value),
    })
}

fn variable(fields: &mut Fields<'_>, at: At<'_>) -> Result<New, Invalid> {
    let secret_name: String = fields.required("secret_name")?;
    check_name(&secret_name, at.key("secret_name"))?;
    let value: Hidden = fields.required("secret_value")?;
    let networking = fields.required("networking")?;
    let place = fields.not_null::<Places>("injection_location")?;
    let place = place.unwrap_or(Places {
        header: Some(true),
        body: Some(true),
    });
    let off = InjectionLocation {
        header: false,
        body: false,
    };
    let injection_location = place.onto(off, at.key("injection_location"))?;
    let header = injection_location.header;
    check_value(&value, limits::TOKEN, header, at.key("secret_value"))?;
    let auth = Auth::EnvironmentVariable {
        secret_name,
        networking,
        injection_location,
    };
    Ok(New {
        auth,
        secrets: only(value),
    })
}

fn only(value: Hidden) -> Secrets {
    Secrets {
        value,
        refresh_token: None,
        client_secret: None,
    }
}

/// `expires_at` as a request has it.
pub(super) fn expiry(given: Patch<String>) -> Result<Patch<Timestamp>, Invalid> {
    Ok(match given {
        Patch::Absent => Patch::Absent,
        Patch::Null => Patch::Null,
        Patch::Value(text) => Patch::Value(Timestamp::parse(&text, "auth.expires_at")?),
    })
}

/// `injection_location` as a request has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    header: Option<bool>,
    body: Option<bool>,
}

impl Read for Places {
    fn read(value: Value, at: At<'_>) -> Result<Places, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let places = Places {
            header: fields.not_null("header")?,
            body: fields.not_null("body")?,
        };
        fields.finish()?;
        Ok(places)
    }
}

impl Places {
    /// What holds when absent keys stay what they were.
    pub(super) fn onto(
        self,
        stored: InjectionLocation,
        at: At<'_>,
    ) -> Result<InjectionLocation, Invalid> {
        let (header, body) = (
            self.header.unwrap_or(stored.header),
            self.body.unwrap_or(stored.body),
        );
        if !header && !body {
            return Err(at.invalid("`header` or `body` must be true, or the value goes nowhere"));
        }
        Ok(InjectionLocation { header, body })
    }
}

/// `refresh` of a new credential.
struct NewRefresh {
    refresh: Refresh,
    token: Hidden,
    client_secret: Option<Hidden>,
}

impl Read for NewRefresh {
    fn read(value: Value, at: At<'_>) -> Result<NewRefresh, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let client_id: String = fields.required("client_id")?;
        let token: Hidden = fields.required("refresh_token")?;
        let token_endpoint: String = fields.required("token_endpoint")?;
        let shown: Shown = fields.required("token_endpoint_auth")?;
        let resource: Option<String> = fields.optional("resource")?;
        let scope: Option<String> = fields.optional("scope")?;
        fields.finish()?;
        limits::text(&client_id, 1, limits::CLIENT_ID, at.key("client_id"))?;
        check_length(&token, limits::REFRESH_TOKEN, at.key("refresh_token"))?;
        address::check(&token_endpoint, at.key("token_endpoint"))?;
        let text = resource.as_deref().unwrap_or("");
        limits::text(text, 0, limits::CREDENTIAL_URL, at.key("resource"))?;
        check_scope(scope.as_deref(), at)?;
        let (token_endpoint_auth, client_secret) = match (shown.auth, shown.secret) {
            (Some(auth), secret) => (auth, secret),
            (None, _) => {
                return Err(at
                    .key("token_endpoint_auth")
                    .key("type")
                    .invalid("field required"));
            }
        };
        Ok(NewRefresh {
            refresh: Refresh {
                client_id,
                token_endpoint,
                token_endpoint_auth,
                resource,
                scope: scope.filter(|scope| !scope.is_empty()),
            },
            token,
            client_secret,
        })
    }
}

pub(super) fn check_scope(scope: Option<&str>, at: At<'_>) -> Result<(), Invalid> {
    limits::text(scope.unwrap_or(""), 0, limits::TOKEN, at.key("scope"))
}

/// `token_endpoint_auth` as a request has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    /// The type, which updates may leave out.
    pub(super) auth: Option<ClientAuth>,
    /// The secret that goes with it.
    pub(super) secret: Option<Hidden>,
}

impl Read for Shown {
    fn read(value: Value, at: At<'_>) -> Result<Shown, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let auth = match fields.not_null::<String>("type")?.as_deref() {
            None => None,
            Some("none") => Some(ClientAuth::None),
            Some("client_secret_basic") => Some(ClientAuth::ClientSecretBasic),
            Some("client_secret_post") => Some(ClientAuth::ClientSecretPost),
            Some(other) => {
                let rule = "must be `none`, `client_secret_basic` or `client_secret_post`";
                let message = format!("{rule}, got {}", quoted(other));
                return Err(at.key("type").invalid(message));
            }
        };
        let secret = match auth {
            Some(ClientAuth::None) => None,
            _ => fields.optional::<Hidden>("client_secret")?,
        };
        fields.finish()?;
        match &secret {
            Some(secret) => {
                check_length(secret, limits::CLIENT_SECRET, at.key("client_secret"))?;
            }
            None if auth.is_some_and(|auth| auth != ClientAuth::None) => {
                return Err(at.key("client_secret").invalid("field required"));
            }
            None => {}
        }
        Ok(Shown { auth, secret })
    }
}
