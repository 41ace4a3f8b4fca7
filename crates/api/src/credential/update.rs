//! The request that changes a credential. What it is for (its server or variable) stays.

use serde_json::Value;

use super::auth::Networking;
use super::create::{Places, Shown, check_scope, expiry};
use super::secrets::{check_length, check_value};
use super::{Auth, ClientAuth, Hidden, Secrets};
use crate::error::Invalid;
use crate::limits;
use crate::metadata::MetadataPatch;
use crate::patch::Patch;
use crate::read::{At, Fields, Read, quoted};
use crate::time::Timestamp;

/// A change of a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateCredential {
    /// Changes to what it is for and to its secrets.
    pub auth: Option<ChangeAuth>,
    /// A new name for people; null clears it.
    pub display_name: Patch<String>,
    /// Changes to the client's own map.
    pub metadata: Option<MetadataPatch>,
}

/// Changes to what a credential is for and to its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeAuth(Change);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Oauth {
        token: Option<Hidden>,
        expires_at: Patch<Timestamp>,
        refresh: Option<ChangeRefresh>,
    },
    Bearer {
        token: Option<Hidden>,
    },
    Variable {
        value: Option<Hidden>,
        networking: Option<Networking>,
        places: Option<Places>,
    },
}

impl Read for UpdateCredential {
    fn read(value: Value, at: At<'_>) -> Result<UpdateCredential, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let update = UpdateCredential {
            auth: fields.not_null("auth")?,
            display_name: fields.patch("display_name")?,
            metadata: fields.optional("metadata")?,
        };
        fields.finish()?;
        if let Patch::Value(name) = &update.display_name {
            limits::text(name, 0, limits::DISPLAY_NAME, at.key("display_name"))?;
        }
        Ok(update)
    }
}

impl Read for ChangeAuth {
    fn read(value: Value, at: At<'_>) -> Result<ChangeAuth, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let token = |fields: &mut Fields<'_>, key| -> Result<Option<Hidden>, Invalid> {
            let token: Option<Hidden> = fields.not_null(key)?;
            if let Some(token) = &token {
                check_value(token, limits::TOKEN, true, at.key(key))?;
            }
            Ok(token)
        };
        let change = match fields.tag("type")?.as_str() {
            "mcp_oauth" => Change::Oauth {
                token: token(&mut fields, "access_token")?,
                expires_at: expiry(fields.patch("expires_at")?)?,
                refresh: fields.optional("refresh")?,
            },
            "static_bearer" => Change::Bearer {
                token: token(&mut fields, "token")?,
            },
            "environment_variable" => Change::Variable {
                // Whether it must fit into a header depends on what is stored.
                value: fields.not_null("secret_value")?,
                networking: fields.not_null("networking")?,
                places: fields.not_null("injection_location")?,
            },
            other => {
                let rule = "must be `mcp_oauth`, `static_bearer` or `environment_variable`";
                let message = format!("{rule}, got {}", quoted(other));
                return Err(at.key("type").invalid(message));
            }
        };
        fields.finish()?;
        Ok(ChangeAuth(change))
    }
}

impl ChangeAuth {
    /// Changes what is stored.
    ///
    /// # Errors
    /// When it is of another type, or does not fit what is stored.
    pub fn apply(self, auth: &mut Auth, secrets: &mut Secrets) -> Result<(), Invalid> {
        let root = At::root();
        let at = root.key("auth");
        match (self.0, auth) {
            (
                Change::Oauth {
                    token,
                    expires_at: until,
                    refresh: change,
                },
                Auth::McpOauth {
                    expires_at,
                    refresh,
                    ..
                },
            ) => {
                // A new token has an end of its own, which is unknown unless it is said.
                if token.is_some() && until.is_absent() {
                    *expires_at = None;
                }
                until.apply(expires_at);
                secrets.value = token.unwrap_or_else(|| secrets.value.clone());
                let Some(change) = change else { return Ok(()) };
                let at = at.key("refresh");
                let Some(refresh) = refresh else {
                    let rule = "the credential has none; make a new credential with one";
                    return Err(at.invalid(rule));
                };
                change.apply(refresh, secrets, at)
            }
            (Change::Bearer { token }, Auth::StaticBearer { .. }) => {
                secrets.value = token.unwrap_or_else(|| secrets.value.clone());
                Ok(())
            }
            (
                Change::Variable {
                    value,
                    networking: hosts,
                    places,
                },
                Auth::EnvironmentVariable {
                    networking,
                    injection_location,
                    ..
                },
            ) => {
                if let Some(places) = places {
                    let at = at.key("injection_location");
                    *injection_location = places.onto(*injection_location, at)?;
                }
                *networking = hosts.unwrap_or_else(|| networking.clone());
                secrets.value = value.unwrap_or_else(|| secrets.value.clone());
                let header = injection_location.header;
                check_value(
                    &secrets.value,
                    limits::TOKEN,
                    header,
                    at.key("secret_value"),
                )
            }
            (_, stored) => {
                let rule = format!("the type of a credential stays `{}`", stored.kind());
                Err(at.key("type").invalid(rule))
            }
        }
    }
}

/// `refresh` of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ChangeRefresh {
    token: Option<Hidden>,
    scope: Patch<String>,
    shown: Option<Shown>,
}

impl Read for ChangeRefresh {
    fn read(value: Value, at: At<'_>) -> Result<ChangeRefresh, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let change = ChangeRefresh {
            token: fields.not_null("refresh_token")?,
            scope: fields.patch("scope")?,
            shown: fields.not_null("token_endpoint_auth")?,
        };
        fields.finish()?;
        if let Some(token) = &change.token {
            check_length(token, limits::REFRESH_TOKEN, at.key("refresh_token"))?;
        }
        if let Patch::Value(scope) = &change.scope {
            check_scope(Some(scope), at)?;
        }
        Ok(change)
    }
}

impl ChangeRefresh {
    fn apply(
        self,
        refresh: &mut super::Refresh,
        secrets: &mut Secrets,
        at: At<'_>,
    ) -> Result<(), Invalid> {
        if let Some(token) = self.token {
            secrets.refresh_token = Some(token);
        }
        self.scope.apply(&mut refresh.scope);
        refresh.scope = refresh.scope.take().filter(|scope| !scope.is_empty());
        let Some(shown) = self.shown else {
            return Ok(());
        };
        let stored = refresh.token_endpoint_auth;
        if shown.auth.is_some_and(|auth| auth != stored) {
            let at = at.key("token_endpoint_auth");
            return Err(at.key("type").invalid("it cannot be changed"));
        }
        if let Some(secret) = shown.secret.filter(|_| stored != ClientAuth::None) {
            secrets.client_secret = Some(secret);
        }
        Ok(())
    }
}
