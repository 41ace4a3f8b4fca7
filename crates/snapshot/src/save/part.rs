//! One part of a manifest, while it is put together.

use crate::{SaveError, pack::CHUNK_MAX};

/// One path of so many ends a part, by its hash: where parts end depends on the paths in them
/// alone, so what is inserted or removed changes the part it is in.
const AVERAGE_BITS: u32 = 6;

/// The most bytes of a part before another record; many long records end it sooner.
const LEN_MAX: usize = 64 * 1024;

/// The most records of a part, for directories whose names were chosen to have no end.
const COUNT_MAX: usize = 512;

/// Records, one behind the other.
#[derive(Default)]
pub struct Part {
    bytes: Vec<u8>,
    count: usize,
}

impl Part {
    /// Adds a record, and says whether the part ends behind it.
    pub fn push(&mut self, record: &[u8], path: &[u8]) -> Result<bool, SaveError> {
        if self.bytes.len() + 4 + record.len() > CHUNK_MAX {
            return Err(SaveError::TooLarge(
                "a file in more pieces than can be kept",
            ));
        }
        let len = u32::try_from(record.len()).expect("a part is below 4 GiB");
        self.bytes.extend_from_slice(&len.to_be_bytes());
        self.bytes.extend_from_slice(record);
        self.count += 1;
        Ok(self.bytes.len() >= LEN_MAX || self.count >= COUNT_MAX || ends(path))
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The part, and begins the next.
    pub fn take(&mut self) -> Vec<u8> {
        self.count = 0;
        std::mem::take(&mut self.bytes)
    }
}

/// FNV-1a, whose result is part of the format: another function would move every end once.
fn ends(path: &[u8]) -> bool {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = path.iter().fold(0xcbf2_9ce4_8422_2325, step);
    // Its low bits depend on the last bytes alone; multiplying brings all of them to the top.
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - AVERAGE_BITS) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_only_count_end_parts_as_often_as_others() {
        for pattern in ["f", "src/module/file_00", "x/"] {
            let paths = (0..64_000).map(|number| format!("{pattern}{number}"));
            let count = paths.filter(|path| ends(path.as_bytes())).count();
            assert!((800..1200).contains(&count), "{pattern}: {count}");
        }
    }
}
