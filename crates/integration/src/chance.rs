//! Chance that can be repeated: every number follows from a seed, and the seed is printed.

/// The variable that repeats a run.
const VARIABLE: &str = "HOSTEL_TEST_SEED";

/// A small generator (SplitMix64); good enough to pick moments, no more.
pub struct Chance(u64);

impl Chance {
    /// Seeded by the variable `HOSTEL_TEST_SEED`, or by the kernel. Says which seed it has.
    #[must_use]
    pub fn new() -> Chance {
        let given = std::env::var(VARIABLE)
            .ok()
            .map(|text| text.parse().unwrap());
        let seed = given.unwrap_or_else(|| {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).unwrap();
            u64::from_le_bytes(bytes)
        });
        println!("{VARIABLE}={seed}");
        Chance(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// One of several.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }
}

impl Default for Chance {
    fn default() -> Chance {
        Chance::new()
    }
}
