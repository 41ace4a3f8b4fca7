//! New inputs out of a corpus: some bytes of one changed, repeated, removed, or put in from another.
//! The same seed and corpus give the same inputs.

/// The longest input that is made.
pub const LONGEST: usize = 16 * 1024;

/// Changes that one input gets at most.
const CHANGES: u64 = 6;

/// Bytes at which readers change their mind.
const ODD_BYTES: [u8; 12] = [
    0, 1, 0x7f, 0x80, 0xff, b'\n', b'\r', b' ', b'"', b'%', b'.', b'/',
];

/// Numbers at which lengths go wrong.
const ODD_NUMBERS: [u32; 8] = [
    0,
    1,
    0xff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    u32::MAX,
];

/// Inputs without end.
pub struct Mutations<'a> {
    corpus: &'a [Vec<u8>],
    state: u64,
}

impl<'a> Mutations<'a> {
    /// Mutations of a corpus that is not empty.
    pub fn new(seed: u64, corpus: &'a [Vec<u8>]) -> Self {
        Self {
            corpus,
            state: seed,
        }
    }

    /// The next input.
    pub fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.pick().to_vec();
        for _ in 0..=self.below(CHANGES) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.place(input.len() + 1);
        let to = (at + self.place(16)).min(input.len());
        match self.below(9) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.odd_byte(),
            2 => input.insert(at, self.odd_byte()),
            3 => drop(input.drain(at..to)),
            4 => input.truncate(at),
            5 => {
                let again = input[at..to].to_vec();
                input.splice(at..at, again);
            }
            6 => {
                let number = ODD_NUMBERS[self.place(ODD_NUMBERS.len())].to_be_bytes();
                let taken = &number[self.place(4)..];
                let to = (at + taken.len()).min(input.len());
                input.splice(at..to, taken.iter().copied());
            }
            _ => {
                let other = self.pick();
                let from = self.place(other.len() + 1);
                let piece = &other[from..(from + self.place(64)).min(other.len())];
                input.splice(at..to, piece.iter().copied());
            }
        }
    }

    fn pick(&mut self) -> &'a [u8] {
        &self.corpus[self.place(self.corpus.len())]
    }

    fn odd_byte(&mut self) -> u8 {
        match self.below(3) {
            0 => ODD_BYTES[self.place(ODD_BYTES.len())],
            _ => self.below(256) as u8,
        }
    }

    fn place(&mut self, below: usize) -> usize {
        self.below(below as u64) as usize
    }

    fn below(&mut self, below: u64) -> u64 {
        step(&mut self.state) % below.max(1)
    }
}

/// The next number of a sequence (splitmix64).
pub fn step(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A name for an input (FNV-1a).
pub fn hash(input: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    input.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_inputs_and_another_gives_others() {
        let corpus = [b"GET / HTTP/1.1".to_vec(), vec![0; 40]];
        let some = |seed| {
            let mut mutations = Mutations::new(seed, &corpus);
            (0..50).map(|_| mutations.next_input()).collect::<Vec<_>>()
        };
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
        assert!(some(3).iter().any(|input| !corpus.contains(input)));
    }

    #[test]
    fn inputs_stay_within_their_bound() {
        let corpus = [vec![b'x'; 3 * LONGEST], Vec::new()];
        let mut mutations = Mutations::new(7, &corpus);
        assert!((0..200).all(|_| mutations.next_input().len() <= LONGEST));
    }
}
