//! Many seeds, and what is said of one that failed.

use std::fmt;
use std::ops::Range;
use std::panic::AssertUnwindSafe;

use crate::check::{Invariant, Violation};
use crate::plan::{Faults, STEPS};
use crate::sabotage::Sabotage;
use crate::world::World;

/// Runs of one test if nobody asks for more: a thousand in all, some seconds of a debug build.
const SEEDS: u64 = 250;

/// A failed run is tried again with fewer steps, this many less each time.
const SHORTER_BY: usize = 10;

/// What a failed run has to say.
#[derive(Debug)]
pub(crate) struct Failure {
    seed: u64,
    steps: usize,
    pub(crate) violation: Violation,
    trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, steps, violation, trace } = self;
        writeln!(f, "{:?} with seed {seed} after {steps} random steps", violation.invariant)?;
        writeln!(f, "{}", violation.what)?;
        writeln!(f, "the last events:")?;
        trace.iter().try_for_each(|event| writeln!(f, "  {event}"))
    }
}

/// A number from the environment.
pub(crate) fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}

/// Fails if any run breaks an invariant.
pub(crate) fn all_hold(faults: Faults, test: &str) {
    let seeds = match (number_from("SYNCKIT_SIM_SEED"), number_from("SYNCKIT_SIM_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => {
            let first = number_from("SYNCKIT_SIM_FIRST").unwrap_or(0);
            first..first + count.unwrap_or(SEEDS)
        }
    };
    if let Some(failure) = first_violation(faults, seeds, None) {
        let Failure { seed, steps, .. } = failure;
        panic!(
            "{failure}repeat with: SYNCKIT_SIM_SEED={seed} SYNCKIT_SIM_STEPS={steps} cargo test \
             -p synckit-engine --test sim {test}"
        );
    }
}

/// The first run that breaks an invariant, made as short as it still does.
pub(crate) fn first_violation(
    faults: Faults,
    seeds: Range<u64>,
    sabotage: Option<Sabotage>,
) -> Option<Failure> {
    let steps = number_from("SYNCKIT_SIM_STEPS").map_or(STEPS, |n| usize::try_from(n).unwrap());
    for seed in seeds {
        let fails = |steps, is_traced| run(seed, faults, steps, sabotage, is_traced);
        if fails(steps, false).is_none() {
            continue;
        }
        let shorter = (0..steps).step_by(SHORTER_BY);
        let shortest = shorter.into_iter().find(|fewer| fails(*fewer, false).is_some());
        let steps = shortest.unwrap_or(steps);
        let (violation, trace) = fails(steps, true).unwrap();
        return Some(Failure { seed, steps, violation, trace });
    }
    None
}

/// One run; how it failed, if it did.
fn run(
    seed: u64,
    faults: Faults,
    steps: usize,
    sabotage: Option<Sabotage>,
    is_traced: bool,
) -> Option<(Violation, Vec<String>)> {
    let mut world = World::new(seed, faults, steps, sabotage, is_traced);
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = match ended {
        Ok(violation) => violation?,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let what = text.unwrap_or_default();
            Violation { invariant: Invariant::NothingPanics, what }
        }
    };
    Some((violation, world.trace.into()))
}
