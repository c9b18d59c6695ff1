//! Seeds: drawn anew for every run, or given by the environment to repeat a run.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

const SEED_VARIABLE: &str = "SEED";

/// A small generator (SplitMix64): the same numbers for the same seed, on every machine.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// Says how to repeat `test`; a test runner shows that when the test fails. What a seed does not
    /// repeat is how tasks and processes are scheduled.
    pub(crate) fn announced(test: &str) -> Self {
        let given = std::env::var(SEED_VARIABLE).ok().map(|text| {
            text.parse()
                .unwrap_or_else(|_| panic!("{SEED_VARIABLE} must be a number, not {text:?}"))
        });
        let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        say(&format!(
            "repeat with: {SEED_VARIABLE}={seed} cargo nextest run -p synckit-server --test nodes {test}"
        ));
        Self(seed)
    }

    /// The numbers of one part of the test, whatever the other parts draw.
    pub(crate) fn part(&self, number: u64) -> Self {
        let mut part = Self(self.0 ^ number.wrapping_mul(0x2545_F491_4F6C_DD1D));
        part.next();
        part
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One time in so many.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

#[expect(clippy::print_stderr, reason = "the test runner shows it")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}
