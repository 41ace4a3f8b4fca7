//! What seals the chunks of one pack.

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
};

use super::SALT_LEN;
use crate::Key;

/// The nonce of the index; chunks have smaller numbers.
pub const INDEX: u32 = u32::MAX;

/// A pack's own key.
pub struct Seal(LessSafeKey);

impl Seal {
    /// The key of the pack with this salt.
    pub fn new(key: &Key, salt: &[u8; SALT_LEN]) -> Self {
        let secret = Salt::new(HKDF_SHA256, salt).extract(key.bytes());
        let expanded = secret
            .expand(&[b"hostel snapshot pack 1"], &AES_256_GCM)
            .expect("one key is a length that HKDF gives");
        Self(LessSafeKey::new(UnboundKey::from(expanded)))
    }

    /// Seals what stands in the buffer from a place on, and adds the tag.
    pub fn seal(&self, number: u32, buffer: &mut Vec<u8>) {
        self.0
            .seal_in_place_append_tag(nonce(number), Aad::empty(), buffer)
            .expect("a chunk is far below what one nonce may seal");
    }

    /// Opens what was sealed, in its place, without the tag; `None` when it is not what it was.
    pub fn open<'a>(&self, number: u32, sealed: &'a mut [u8]) -> Option<&'a [u8]> {
        let opened = self.0.open_in_place(nonce(number), Aad::empty(), sealed);
        opened.ok().map(|opened| &*opened)
    }
}

fn nonce(number: u32) -> Nonce {
    let mut nonce = [0; 12];
    nonce[8..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}
