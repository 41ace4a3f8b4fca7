//! Which credentials a session has: the active ones of its vaults; of two for the same variable or server,
//! that of the vault that is named first. A server's counts where the session's agent has that server.
//!
//! What the session sees of a variable's is a random text of its own, which stays as long as the session.

use api::credential::{Auth, Networking, normal};
use egress::{Binding, HostPort, Hosts, Placeholder, Put, Slot, Target};
use serde_json::Value;
use store::{CredentialRow, SessionRow, StoreError};

use super::Vaults;

/// The credentials of one session.
#[derive(Debug, Default)]
pub struct Given {
    /// For egress.
    pub bindings: Vec<Binding>,
    /// Names of the agent's MCP servers by credential.
    pub servers: Vec<(Slot, String)>,
    /// Variables with their placeholders.
    pub variables: Vec<(String, String)>,
}

/// A credential that is for every host that its environment names, where it names none.
#[derive(Debug, thiserror::Error)]
#[error(
    "credential {credential} (`networking: unrestricted`) is for every host that the environment names, and it \
     names none, so no host would get it; give the credential `allowed_hosts`, or the environment \
     `networking.allowed_hosts` or rules that allow hosts by name"
)]
pub struct Unnamed {
    /// Which.
    pub credential: String,
}

impl Vaults {
    /// The credentials of a session. One whose row cannot be read is left out, and the log says so.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn given(&self, session: &SessionRow) -> Result<Given, StoreError> {
        let mut given = Given::default();
        if session.vault_ids == "[]" {
            return Ok(given);
        }
        let credentials = self.parts.store.credentials();
        let rows = credentials
            .of_vaults(&session.workspace_id, &session.vault_ids)
            .await?;
        let chosen = first_of_each(&rows);
        let fresh = chosen.iter().filter(|(_, auth)| is_variable(auth));
        let fresh = fresh.map(|(row, _)| (row.id.clone(), self.parts.ids.placeholder()));
        let placeholders = credentials
            .placeholders(&session.id, fresh.collect())
            .await?;
        let servers = servers(&session.agent);
        for (row, auth) in chosen {
            let slot = Slot(row.id.clone());
            match auth {
                Auth::EnvironmentVariable {
                    secret_name,
                    networking,
                    injection_location: place,
                } => {
                    let text = placeholders.iter().find(|(id, _)| *id == row.id);
                    let Some((_, text)) = text else { continue };
                    given.variables.push((secret_name, text.clone()));
                    let put = Put::Swap {
                        placeholder: Placeholder::new(text),
                        hosts: hosts(networking),
                        header: place.header,
                        body: place.body,
                    };
                    given.bindings.push(Binding { slot, put });
                }
                Auth::McpOauth { mcp_server_url, .. } | Auth::StaticBearer { mcp_server_url } => {
                    let url = normal(&mcp_server_url);
                    let named = servers
                        .iter()
                        .filter(|(_, server)| Some(server) == url.as_ref());
                    for (name, url) in named {
                        given.servers.push((slot.clone(), name.clone()));
                        let put = bearer(url);
                        let binding = put.map(|put| Binding {
                            slot: slot.clone(),
                            put,
                        });
                        given.bindings.extend(binding);
                    }
                }
            }
        }
        Ok(given)
    }

    /// Refuses credentials that no host of an environment would get.
    ///
    /// # Errors
    /// When the store fails; inside, when there is such a credential.
    pub async fn check(
        &self,
        workspace: &str,
        vault_ids: &str,
        names_hosts: bool,
    ) -> Result<Result<(), Unnamed>, StoreError> {
        if names_hosts {
            return Ok(Ok(()));
        }
        let credentials = self.parts.store.credentials();
        let rows = credentials.of_vaults(workspace, vault_ids).await?;
        let unnamed = first_of_each(&rows).into_iter().find(|(_, auth)| {
            let networking = Networking::Unrestricted;
            matches!(auth, Auth::EnvironmentVariable { networking: it, .. } if *it == networking)
        });
        Ok(match unnamed {
            None => Ok(()),
            Some((row, _)) => Err(Unnamed {
                credential: row.id.clone(),
            }),
        })
    }
}

/// Of several for the same, the first.
fn first_of_each(rows: &[CredentialRow]) -> Vec<(&CredentialRow, Auth)> {
    let mut chosen: Vec<(&CredentialRow, Auth)> = Vec::new();
    for row in rows {
        let auth: Auth = match serde_json::from_str(&row.auth) {
            Ok(auth) => auth,
            Err(error) => {
                tracing::error!(
                    credential.id = row.id,
                    "credential {} cannot be read: {error}",
                    row.id
                );
                continue;
            }
        };
        let same = |(other, known): &(&CredentialRow, Auth)| {
            other.binding == row.binding && is_variable(known) == is_variable(&auth)
        };
        if !chosen.iter().any(same) {
            chosen.push((row, auth));
        }
    }
    chosen
}

fn is_variable(auth: &Auth) -> bool {
    matches!(auth, Auth::EnvironmentVariable { .. })
}

/// A host that cannot be read gets nothing: hosts are checked when they come.
fn hosts(networking: Networking) -> Hosts {
    match networking {
        Networking::Unrestricted => Hosts::Named,
        Networking::Limited { allowed_hosts } => Hosts::Listed(
            allowed_hosts
                .iter()
                .filter_map(|it| it.parse().ok())
                .collect(),
        ),
    }
}

/// Names and addresses of an agent's MCP servers.
fn servers(agent: &str) -> Vec<(String, String)> {
    let agent: Value = serde_json::from_str(agent).unwrap_or_default();
    let servers = agent["mcp_servers"].as_array().into_iter().flatten();
    let pair = |server: &Value| {
        Some((
            server["name"].as_str()?.to_owned(),
            normal(server["url"].as_str()?)?,
        ))
    };
    servers.filter_map(pair).collect()
}

fn bearer(url: &str) -> Option<Put> {
    let uri: http::Uri = url.parse().ok()?;
    let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
        Some("http") => 80,
        _ => 443,
    });
    let target = Target::new(uri.host()?, port).ok()?;
    Some(Put::Bearer {
        server: HostPort {
            host: target.host,
            port,
        },
        path: uri.path().trim_end_matches('/').to_owned(),
    })
}
