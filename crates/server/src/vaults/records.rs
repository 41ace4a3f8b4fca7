//! Making and changing credentials: what is secret is sealed before it goes to the store.

use api::credential::{Auth, CreateCredential, UpdateCredential};
use api::error::Invalid;
use api::id::Prefix;
use api::limits;
use store::{CreateCredentialError, CredentialRow, Realm, StoreError, UpdateCredentialError};

use super::{SealError, Vaults, seal};

/// How often a change is merged again because somebody else's came between reading and writing.
const ATTEMPTS: usize = 5;

/// Why a credential was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is none.
    #[error("the credential does not exist")]
    NotFound,
    /// Archived credentials do not change.
    #[error("the credential is archived")]
    Archived,
    /// The change does not fit.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// What is stored cannot be opened.
    #[error(transparent)]
    Sealed(#[from] SealError),
    /// What is stored is not what this server writes.
    #[error("what is stored of the credential cannot be read")]
    Unreadable(#[from] serde_json::Error),
    /// Others change it all the time.
    #[error("the credential is being changed by too many callers at once")]
    Busy,
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Vaults {
    /// Makes a credential of a vault.
    ///
    /// # Errors
    /// When the vault is absent, archived or full, or has one for the same.
    pub async fn create(
        &self,
        realm: &Realm,
        vault: &str,
        request: CreateCredential,
    ) -> Result<CredentialRow, CreateCredentialError> {
        let now = self.parts.clock.now();
        let json = |value| serde_json::to_string(value).expect("texts are JSON");
        let mut row = CredentialRow {
            id: self.parts.ids.mint(Prefix::Credential),
            vault_id: vault.to_owned(),
            workspace_id: realm.workspace().to_owned(),
            revision: 1,
            binding: request.auth.key(),
            display_name: request.display_name,
            metadata: json(&request.metadata),
            auth: serde_json::to_string(&request.auth).expect("texts are JSON"),
            sealed: None,
            created_at: now,
            updated_at: now,
            archived_at: None,
        };
        row.sealed = Some(seal::seal(&self.parts.keys, &row, &request.secrets));
        let credentials = self.parts.store.credentials();
        credentials
            .create(realm, row.clone(), limits::CREDENTIALS)
            .await?;
        Ok(row)
    }

    /// Changes a credential.
    ///
    /// # Errors
    /// When it is absent or archived, or the change does not fit.
    pub async fn update(
        &self,
        realm: &Realm,
        vault: &str,
        id: &str,
        request: UpdateCredential,
    ) -> Result<CredentialRow, ChangeError> {
        let credentials = self.parts.store.credentials();
        for _ in 0..ATTEMPTS {
            let row = credentials.get(realm, vault, id).await?;
            let row = row.ok_or(ChangeError::NotFound)?;
            if row.archived_at.is_some() {
                return Err(ChangeError::Archived);
            }
            let changed = self.merge(&row, request.clone())?;
            if changed == row {
                return Ok(row);
            }
            match credentials.update(changed, self.parts.clock.now()).await {
                Ok(row) => return Ok(row),
                Err(UpdateCredentialError::RevisionMismatch { .. }) => {}
                Err(UpdateCredentialError::NotFound) => return Err(ChangeError::NotFound),
                Err(UpdateCredentialError::Archived) => return Err(ChangeError::Archived),
                Err(UpdateCredentialError::Store(error)) => return Err(error.into()),
            }
        }
        Err(ChangeError::Busy)
    }

    fn merge(
        &self,
        row: &CredentialRow,
        request: UpdateCredential,
    ) -> Result<CredentialRow, ChangeError> {
        let mut changed = row.clone();
        request.display_name.apply(&mut changed.display_name);
        if let Some(patch) = request.metadata {
            let mut metadata = serde_json::from_str(&row.metadata)?;
            patch.apply(&mut metadata)?;
            changed.metadata = serde_json::to_string(&metadata)?;
        }
        if let Some(change) = request.auth {
            let stored = seal::open(&self.parts.keys, row)?;
            let mut auth: Auth = serde_json::from_str(&row.auth)?;
            let mut secrets = stored.clone();
            change.apply(&mut auth, &mut secrets)?;
            changed.auth = serde_json::to_string(&auth)?;
            if changed.auth != row.auth || secrets != stored {
                changed.sealed = Some(seal::seal(&self.parts.keys, &changed, &secrets));
            }
        }
        Ok(changed)
    }
}
