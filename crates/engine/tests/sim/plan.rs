//! What may go wrong in a run, and how often. Drawn from the seed, except for what a test fixes.

use synckit_engine::limits::Limits;

use crate::random::Random;
use crate::sabotage::Sabotage;

/// Which part of the world is unreliable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Faults {
    Bus,
    Store,
    Nodes,
    All,
}

/// Long enough for all parts to get into each other's way, short enough for thousands of runs.
pub(crate) const STEPS: usize = 400;

/// The times of the server, so that they stand to each other as they do there.
pub(crate) const GRACE_MS: u64 = 3_000;
pub(crate) const ALIVE_MS: u64 = 2_000;
pub(crate) const NODE_SILENT_MS: u64 = 9_000;
pub(crate) const REPEAT_MS: u64 = 10_000;
/// Shorter than in the server, so that rooms do close within a run.
pub(crate) const IDLE_MS: u64 = 5_000;
/// Steps follow each other in no time, or so slowly that timers run out between them.
pub(crate) const STEP_MS_MAX: [u64; 3] = [4, 100, 1_000];
/// A client that lets as much wait is slow, and its connection is closed.
pub(crate) const OUTBOX_MAX: usize = 60;

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: usize,
    pub(crate) step_ms_max: u64,
    pub(crate) nodes: usize,
    pub(crate) clients: usize,
    pub(crate) documents: usize,
    pub(crate) limits: Limits,
    /// Percent of messages.
    pub(crate) bus_drops: usize,
    pub(crate) bus_repeats: usize,
    pub(crate) bus_reorders: bool,
    pub(crate) links_break: bool,
    /// Percent of appends and reads.
    pub(crate) store_fails: usize,
    pub(crate) store_stops: bool,
    pub(crate) store_prunes: bool,
    /// Whether standbys take over that lack the last deltas.
    pub(crate) store_falls_back: bool,
    /// Percent of steps in which something fails, or is deleted.
    pub(crate) fails: usize,
    pub(crate) store_deletes: usize,
    pub(crate) nodes_crash: bool,
    pub(crate) rooms_panic: bool,
    /// How many messages wait for a client from which on it lags.
    pub(crate) lags_at: usize,
    pub(crate) sabotage: Option<Sabotage>,
}

impl Plan {
    pub(crate) fn draw(
        random: &mut Random,
        faults: Faults,
        steps: usize,
        sabotage: Option<Sabotage>,
    ) -> Self {
        let has = |part| faults == part || faults == Faults::All;
        let (bus, store, nodes) = (has(Faults::Bus), has(Faults::Store), has(Faults::Nodes));
        let edits_in_flight_max = random.one_of(&[1, 3, 4_096]);
        Self {
            steps,
            step_ms_max: random.one_of(&STEP_MS_MAX),
            nodes: 2 + random.below(3),
            clients: 2 + random.below(5),
            documents: 1 + random.below(2),
            limits: Limits { edits_in_flight_max, ..Limits::default() },
            bus_drops: if bus { random.one_of(&[0, 5, 40]) } else { 0 },
            bus_repeats: if bus { random.one_of(&[0, 20]) } else { 0 },
            bus_reorders: bus && random.chance(60),
            links_break: bus && random.chance(60),
            store_fails: if store { random.one_of(&[0, 10, 40]) } else { 0 },
            store_stops: store && random.chance(50),
            store_prunes: store && random.chance(60),
            store_falls_back: store && random.chance(40),
            fails: random.one_of(&[2, 5, 10]),
            store_deletes: if store { random.one_of(&[0, 0, 1, 4]) } else { 0 },
            nodes_crash: nodes && random.chance(70),
            rooms_panic: nodes && random.chance(50),
            lags_at: random.one_of(&[2, 12, usize::MAX]),
            sabotage,
        }
    }

    pub(crate) fn is(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }
}

impl Random {
    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}
