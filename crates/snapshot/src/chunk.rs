//! Cutting files into chunks by what is in them, so that a change in the middle of a file leaves
//! the chunks before and behind it as they were.

use fastcdc::v2020::FastCDC;

/// The shortest chunk of a longer file. A file up to this length is one chunk.
pub const MIN: usize = 16 * 1024;
/// Short enough that ten changes in long files write little, long enough that a file of a
/// gigabyte has no more than sixteen thousand.
const AVERAGE: usize = 64 * 1024;
/// The longest.
pub const MAX: usize = 256 * 1024;

const _: () = assert!(MAX <= protocol::TREE_CHUNK_MAX && MAX <= crate::pack::CHUNK_MAX);

/// Where the first chunk of some bytes ends. Needs [`MAX`] bytes, or all that are left.
pub fn cut(bytes: &[u8]) -> usize {
    if bytes.len() <= MIN {
        return bytes.len();
    }
    let (_, end) = FastCDC::new(bytes, MIN, AVERAGE, MAX).cut(0, bytes.len());
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 7u64;
        let next = |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        (0..len).map(next).collect()
    }

    fn cuts(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut chunks = Vec::new();
        while !bytes.is_empty() {
            let (chunk, rest) = bytes.split_at(cut(&bytes[..bytes.len().min(MAX)]));
            chunks.push(chunk);
            bytes = rest;
        }
        chunks
    }

    #[test]
    fn a_change_touches_few_chunks() {
        let before = noise(4_000_000);
        let mut after = before.clone();
        after.splice(2_000_000..2_000_000, *b"something in the middle");
        let (before, after) = (cuts(&before), cuts(&after));
        assert!((30..200).contains(&before.len()), "{} chunks", before.len());
        let new = after.iter().filter(|chunk| !before.contains(chunk)).count();
        assert!((1..=3).contains(&new), "{new} new chunks");
    }

    #[test]
    fn chunks_are_within_bounds_whatever_is_in_them() {
        for bytes in [noise(1_000_000), vec![0; 1_000_000]] {
            let chunks = cuts(&bytes);
            assert_eq!(chunks.concat(), bytes);
            let (last, all) = chunks.split_last().unwrap();
            assert!(all.iter().all(|chunk| (MIN..=MAX).contains(&chunk.len())));
            assert!((1..=MAX).contains(&last.len()));
        }
        assert_eq!(cut(b"x"), 1);
    }
}
