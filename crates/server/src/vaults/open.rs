//! What egress asks for: the value of a credential now, and a newer one where a host refused it.

use api::credential::{Auth, Secrets};
use async_trait::async_trait;
use chrono::TimeDelta;
use egress::{ClientId, CredentialError, Secret, Slot};
use store::CredentialRow;

use super::renew::Renewal;
use super::{SealError, Vaults, seal};

/// A token that ends within this time is renewed before it is sent.
const MARGIN: TimeDelta = TimeDelta::seconds(60);

/// A credential that was opened.
pub(super) struct Opened {
    pub(super) row: CredentialRow,
    pub(super) auth: Auth,
    pub(super) secrets: Secrets,
}

impl Vaults {
    /// Opens an active credential.
    pub(super) async fn open(&self, id: &str) -> Result<Opened, CredentialError> {
        let row = self.parts.store.credentials().active(id).await;
        let row = row.map_err(|_| CredentialError::Unavailable)?;
        let row = row.ok_or(CredentialError::Missing)?;
        let secrets = seal::open(&self.parts.keys, &row).map_err(|error| match error {
            SealError::Gone => CredentialError::Missing,
            error => {
                tracing::error!(
                    credential.id = id,
                    "credential {id} cannot be opened: {error}"
                );
                CredentialError::Unavailable
            }
        })?;
        let auth = serde_json::from_str(&row.auth).map_err(|_| CredentialError::Unavailable)?;
        Ok(Opened { row, auth, secrets })
    }

    /// Whether its token has ended, or will within `margin`.
    fn ends(&self, auth: &Auth, margin: TimeDelta) -> bool {
        match auth {
            Auth::McpOauth { expires_at, .. } => {
                expires_at.is_some_and(|at| at.0 <= self.parts.clock.now() + margin)
            }
            _ => false,
        }
    }
}

fn value(secrets: &Secrets) -> Secret {
    Secret::new(secrets.value.expose())
}

#[async_trait]
impl egress::Credentials for Vaults {
    async fn resolve(&self, slot: &Slot) -> Result<Secret, CredentialError> {
        Ok(value(&self.open(&slot.0).await?.secrets))
    }

    async fn fresh(&self, client: &ClientId, slot: &Slot) -> Result<Secret, CredentialError> {
        let opened = self.open(&slot.0).await?;
        if !self.ends(&opened.auth, MARGIN) {
            return Ok(value(&opened.secrets));
        }
        match self.renew(&slot.0, &opened.secrets.value).await? {
            Renewal::Done(secrets) => Ok(value(&secrets)),
            // The host says what it thinks of it.
            Renewal::Nothing => Ok(value(&opened.secrets)),
            Renewal::Failed(_) if !self.ends(&opened.auth, TimeDelta::zero()) => {
                Ok(value(&opened.secrets))
            }
            Renewal::Failed(why) => {
                self.tell(client, slot, &format!("its token has ended, and {why}"));
                Err(CredentialError::NotRenewed)
            }
        }
    }

    async fn renewed(
        &self,
        client: &ClientId,
        slot: &Slot,
        refused: &Secret,
    ) -> Result<Option<Secret>, CredentialError> {
        let opened = self.open(&slot.0).await?;
        if !refused.is(opened.secrets.value.expose()) {
            return Ok(Some(value(&opened.secrets)));
        }
        match self.renew(&slot.0, &opened.secrets.value).await? {
            Renewal::Done(secrets) => Ok(Some(value(&secrets))),
            Renewal::Nothing => {
                self.tell(client, slot, "the server refused its token");
                Ok(None)
            }
            Renewal::Failed(why) => {
                let why = format!("the server refused its token, and {why}");
                self.tell(client, slot, &why);
                Err(CredentialError::NotRenewed)
            }
        }
    }
}

impl Vaults {
    /// Says in a session's log that a credential of one of its MCP servers does not work.
    fn tell(&self, client: &ClientId, slot: &Slot, why: &str) {
        let id = &slot.0;
        tracing::warn!(session.id = %client, credential.id = id, "credential {id} does not work: {why}");
        self.parts.ledger.credential_failed(client, slot, why);
    }
}
