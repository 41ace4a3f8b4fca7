//! A snapshot's root, whose hash is the snapshot's id.

use bytes::{Buf as _, BufMut as _, Bytes};

use super::bytes::take_hash;
use crate::id::Hash;

const VERSION: u8 = 1;

/// The most parts of a manifest: some four million entries.
pub const PARTS_MAX: usize = 60_000;

/// A snapshot's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Makes roots of equal trees differ, so that ids are unique.
    pub salt: [u8; 16],
    /// Plain files.
    pub files: u64,
    /// Bytes of all files, holes included.
    pub bytes: u64,
    /// The parts of the manifest, in order.
    pub parts: Vec<Hash>,
}

impl Root {
    /// As it is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.parts.len() * 32);
        out.put_u8(VERSION);
        out.put_slice(&self.salt);
        out.put_u64(self.files);
        out.put_u64(self.bytes);
        self.parts.iter().for_each(|part| out.put_slice(&part.0));
        out
    }

    /// `None` when it is none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut from = Bytes::copy_from_slice(bytes);
        if from.try_get_u8().ok()? != VERSION {
            return None;
        }
        let mut salt = [0; 16];
        from.try_copy_to_slice(&mut salt).ok()?;
        let files = from.try_get_u64().ok()?;
        let bytes = from.try_get_u64().ok()?;
        let mut parts = Vec::with_capacity(from.len() / 32);
        while !from.is_empty() {
            parts.push(take_hash(&mut from)?);
        }
        Some(Self {
            salt,
            files,
            bytes,
            parts,
        })
    }
}
