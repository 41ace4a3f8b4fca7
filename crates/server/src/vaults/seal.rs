//! Sealing: AES-256-GCM under a key of its own for each sealing, made from the vaults' key and a random
//! salt, so that no nonce is ever used twice. What is sealed is bound to its row: to workspace, vault and
//! credential, and to what the row says that the credential is for. Moved to another row, or under changed
//! hosts, it does not open.

use api::credential::{Hidden, Secrets};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use store::{CredentialRow, Sealed};

use super::key::{Key, Keyring};

const SALT: usize = 32;

/// Why something cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It is archived.
    #[error("the credential is archived")]
    Gone,
    /// It was sealed under a key that is not configured.
    #[error(
        "the credential is sealed under the key {key_id}, which is not configured (setting vaults.former_keys)"
    )]
    NoKey {
        /// The name of that key.
        key_id: String,
    },
    /// It is not what was sealed for this row.
    #[error("what is stored of the credential was changed or belongs to another one")]
    Changed,
}

/// What is sealed, as text. Its fields are secret.
#[derive(Serialize)]
struct Plain<'a> {
    value: &'a str,
    refresh_token: Option<&'a str>,
    client_secret: Option<&'a str>,
}

#[derive(Deserialize)]
struct Opened {
    value: String,
    refresh_token: Option<String>,
    client_secret: Option<String>,
}

/// Seals a row's secrets under the present key.
pub(super) fn seal(keys: &Keyring, row: &CredentialRow, secrets: &Secrets) -> Sealed {
    let expose = |hidden: &Option<Hidden>| hidden.as_ref().map(|hidden| hidden.expose().to_owned());
    let (refresh_token, client_secret) = (
        expose(&secrets.refresh_token),
        expose(&secrets.client_secret),
    );
    let plain = Plain {
        value: secrets.value.expose(),
        refresh_token: refresh_token.as_deref(),
        client_secret: client_secret.as_deref(),
    };
    let mut bytes = serde_json::to_vec(&plain).expect("texts are JSON");
    let mut salt = [0; SALT];
    SystemRandom::new()
        .fill(&mut salt)
        .expect("the kernel has random numbers once it has booted");
    let key = keys.present();
    cipher(key, &salt)
        .seal_in_place_append_tag(nonce(), aad(row), &mut bytes)
        .expect("a credential is far below what one nonce may seal");
    let mut sealed = salt.to_vec();
    sealed.append(&mut bytes);
    Sealed {
        key_id: key.id.clone(),
        bytes: sealed,
    }
}

/// Opens a row's secrets.
pub(super) fn open(keys: &Keyring, row: &CredentialRow) -> Result<Secrets, SealError> {
    let sealed = row.sealed.as_ref().ok_or(SealError::Gone)?;
    let key_id = &sealed.key_id;
    let key = keys.named(key_id).ok_or_else(|| SealError::NoKey {
        key_id: key_id.clone(),
    })?;
    let (salt, bytes) = sealed
        .bytes
        .split_at_checked(SALT)
        .ok_or(SealError::Changed)?;
    let mut bytes = bytes.to_vec();
    let opened = cipher(key, salt).open_in_place(nonce(), aad(row), &mut bytes);
    let opened = opened.map_err(|_| SealError::Changed)?;
    let read: Result<Opened, _> = serde_json::from_slice(opened);
    bytes.fill(0);
    let read = read.map_err(|_| SealError::Changed)?;
    Ok(Secrets {
        value: Hidden::new(read.value),
        refresh_token: read.refresh_token.map(Hidden::new),
        client_secret: read.client_secret.map(Hidden::new),
    })
}

fn cipher(key: &Key, salt: &[u8]) -> LessSafeKey {
    let secret = Salt::new(HKDF_SHA256, salt).extract(key.bytes());
    let expanded = secret
        .expand(&[b"hostel credential 1"], &AES_256_GCM)
        .expect("one key is a length that HKDF gives");
    LessSafeKey::new(UnboundKey::from(expanded))
}

/// Each key seals once.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn aad(row: &CredentialRow) -> Aad<Vec<u8>> {
    let mut bound = Vec::new();
    for part in [
        &row.workspace_id,
        &row.vault_id,
        &row.id,
        &row.binding,
        &row.auth,
    ] {
        bound.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bound.extend_from_slice(part.as_bytes());
    }
    Aad::from(bound)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn row() -> CredentialRow {
        CredentialRow {
            id: "vcrd_1".into(),
            vault_id: "vlt_1".into(),
            workspace_id: "wrkspc_1".into(),
            revision: 1,
            binding: "A".into(),
            display_name: None,
            metadata: "{}".into(),
            auth: r#"{"hosts":["a"]}"#.into(),
            sealed: None,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
            archived_at: None,
        }
    }

    fn secrets() -> Secrets {
        Secrets {
            value: Hidden::new("the-value"),
            refresh_token: Some(Hidden::new("rt")),
            client_secret: None,
        }
    }

    #[test]
    fn what_is_sealed_opens_for_its_row_and_as_it_is_alone() {
        let keys = Keyring::of(Key::new([1; 32]), Vec::new());
        let mut row = row();
        let sealed = seal(&keys, &row, &secrets());
        assert_ne!(
            sealed,
            seal(&keys, &row, &secrets()),
            "twice is not the same"
        );
        assert!(!sealed.bytes.windows(9).any(|it| it == b"the-value"));
        row.sealed = Some(sealed.clone());
        assert_eq!(open(&keys, &row).unwrap(), secrets());
        for change in [
            |row: &mut CredentialRow| row.id.push('x'),
            |row: &mut CredentialRow| row.vault_id.push('x'),
            |row: &mut CredentialRow| row.workspace_id.push('x'),
            |row: &mut CredentialRow| row.binding.push('x'),
            |row: &mut CredentialRow| row.auth = r#"{"hosts":["b"]}"#.into(),
            |row: &mut CredentialRow| row.sealed.as_mut().unwrap().bytes[40] ^= 1,
            |row: &mut CredentialRow| row.sealed.as_mut().unwrap().bytes[0] ^= 1,
            |row: &mut CredentialRow| row.sealed.as_mut().unwrap().bytes.truncate(10),
        ] {
            let mut other = row.clone();
            change(&mut other);
            assert!(
                matches!(open(&keys, &other), Err(SealError::Changed)),
                "{other:?}"
            );
        }
        // A name or metadata is no part of it.
        row.display_name = Some("x".into());
        assert!(open(&keys, &row).is_ok());
    }

    #[test]
    fn a_former_key_opens_and_an_unknown_one_is_named() {
        let (old, new) = ([1; 32], [2; 32]);
        let mut row = row();
        let before = Keyring::of(Key::new(old), Vec::new());
        row.sealed = Some(seal(&before, &row, &secrets()));
        let both = Keyring::of(Key::new(new), vec![Key::new(old)]);
        assert_eq!(open(&both, &row).unwrap(), secrets());
        let alone = Keyring::of(Key::new(new), Vec::new());
        let error = open(&alone, &row).unwrap_err().to_string();
        assert!(error.contains(&Key::new(old).id), "{error}");
        row.sealed = None;
        assert!(matches!(open(&both, &row), Err(SealError::Gone)));
    }
}
