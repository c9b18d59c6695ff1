//! Seeds: drawn anew for every run, or given by the environment to repeat a run.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Names the seed of one run, to do it again.
const SEED_VARIABLE: &str = "SYNCKIT_TEST_CRASH_SEED";

/// Names the rounds of each kind.
const ROUNDS_VARIABLE: &str = "SYNCKIT_TEST_CRASH_ROUNDS";

/// How long a run is and how to repeat it. What a seed does not repeat is how tasks and processes
/// are scheduled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) rounds: u64,
}

impl Plan {
    pub(crate) fn from_environment(rounds_default: u64) -> Self {
        let seed = number(SEED_VARIABLE);
        Self {
            seed: seed.unwrap_or_else(|| RandomState::new().build_hasher().finish()),
            rounds: number(ROUNDS_VARIABLE).unwrap_or(rounds_default),
        }
    }

    pub(crate) fn replay(self) -> String {
        format!("scripts/crash-test --rounds {} --seed {}", self.rounds, self.seed)
    }

    /// The numbers of one part of the run, whatever the other parts draw.
    pub(crate) fn part(self, name: &str, number: u64) -> Random {
        let mut random = Random(self.seed ^ number.wrapping_mul(0x2545_F491_4F6C_DD1D));
        for byte in name.bytes() {
            random.0 ^= u64::from(byte);
            random.next();
        }
        random
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}

/// A small generator (SplitMix64): the same numbers for the same seed, on every machine.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
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
