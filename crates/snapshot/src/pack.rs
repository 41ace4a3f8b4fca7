//! One file of chunks. It is written once, named when it is whole, and never changed.
//!
//! ```text
//! header   "HOSTELPK" version flags 0000 00 [salt: 32 bytes, when it is sealed]
//! chunks   method (0 as it is, 1 zstd) bytes [tag: 16 bytes, when it is sealed]
//! index    for each chunk: hash, bytes here, bytes of the chunk, check; as a chunk itself
//! footer   where the index is, its two lengths, the SHA-256 of header, index and these, "KPLETSOH"
//! ```
//!
//! Chunks stand one behind the other, so an index says where each one is. A chunk's check is of
//! the bytes that stand here, not of what they decompress to: there are bytes in a compressed
//! chunk that decide nothing, and no byte may change unnoticed. A sealed chunk's check is its tag.
//! Everything else is verified by the footer's hash.
//!
//! Sealing is AES-256-GCM with a key of this pack alone, made from the key and the salt, and the
//! chunk's number as the nonce; so no nonce comes twice, and no chunk can change its place.

mod read;
mod seal;
mod write;

pub use read::{Opened, Pack, Tools};
pub use write::Writer;

use crate::id::Hash;

/// How packs are called.
pub const SUFFIX: &str = "pack";

/// What a pack is called before it is whole.
pub const PARTIAL: &str = "partial";

const MAGIC: &[u8; 8] = b"HOSTELPK";
const END_MAGIC: &[u8; 8] = b"KPLETSOH";
const VERSION: u8 = 1;
const SEALED: u8 = 1;

const HEADER_LEN: usize = 16;
const SALT_LEN: usize = 32;
const FOOTER_LEN: usize = 8 + 4 + 4 + 32 + 8;
const CHECK_LEN: usize = 16;
const INDEX_ENTRY_LEN: usize = 32 + 4 + 4 + CHECK_LEN;

/// The longest chunk in bytes. Those of files are shorter; a manifest with the longest paths,
/// attributes and a file of hundreds of gigabytes fits.
pub const CHUNK_MAX: usize = 2 * 1024 * 1024;

/// The most chunks of one pack; a writer begins another one.
const CHUNKS_MAX: usize = 1024 * 1024;

/// What an index says of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    pub hash: Hash,
    /// Its number in the pack.
    pub number: u32,
    /// Where it begins.
    pub offset: u64,
    /// Bytes in the pack.
    pub stored: u32,
    /// Bytes of the chunk itself.
    pub len: u32,
    /// The beginning of the SHA-256 of the bytes in the pack; zeros when they are sealed.
    check: [u8; CHECK_LEN],
}
