//! Numbers and runs of bytes in the manifest's records.

use bytes::{Buf as _, BufMut as _, Bytes};

use crate::id::Hash;

/// Appends a run with its length.
pub fn put_run(out: &mut Vec<u8>, run: &[u8]) {
    out.put_u32(u32::try_from(run.len()).expect("runs are bounded far below 4 GiB"));
    out.put_slice(run);
}

/// Takes a run with its length.
pub fn take_run(from: &mut Bytes) -> Option<Bytes> {
    let len = from.try_get_u32().ok()? as usize;
    (len <= from.len()).then(|| from.split_to(len))
}

/// Takes a hash.
pub fn take_hash(from: &mut Bytes) -> Option<Hash> {
    let mut hash = [0; 32];
    from.try_copy_to_slice(&mut hash).ok()?;
    Some(Hash(hash))
}
