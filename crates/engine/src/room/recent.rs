//! The newest deltas of a document, kept for the case that its store goes back: when another server
//! of the database takes over that had not received them yet, they are stored again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::delta::Delta;
use crate::position::Seq;

/// How long a delta is kept at least, in milliseconds, unless bytes run out; at most twice as long.
/// A standby that lags further behind is one to mend, not to fail over to.
pub(super) const RECENT_FOR_MS: u64 = 60_000;

/// What a delta takes besides its changes, about.
const DELTA_OVERHEAD_BYTES: usize = 160;

/// Bytes that the rooms of a node may keep together. One for all of them.
#[derive(Debug)]
pub struct RecentBudget {
    bytes_max: usize,
    used: AtomicUsize,
}

impl RecentBudget {
    /// So many bytes; with 0 nothing is kept, and nothing is ever stored again.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, used: AtomicUsize::new(0) }
    }

    /// How many bytes are kept now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn is_exceeded(&self) -> bool {
        self.used() > self.bytes_max
    }
}

/// The deltas of one room, in order, without gaps.
#[derive(Debug)]
pub(super) struct Recent {
    deltas: VecDeque<(Seq, Delta)>,
    bytes: usize,
    /// How many of them, from the front, were kept when the last minute began.
    old: usize,
    budget: Option<Arc<RecentBudget>>,
}

impl Recent {
    pub(super) fn new(budget: Option<Arc<RecentBudget>>) -> Self {
        Self { deltas: VecDeque::new(), bytes: 0, old: 0, budget }
    }

    /// Keeps the next delta; whether it is the first, so that a minute begins.
    pub(super) fn keep(&mut self, seq: Seq, delta: Delta) -> bool {
        let Some(budget) = self.budget.clone().filter(|budget| budget.bytes_max > 0) else {
            return false;
        };
        let is_first = self.deltas.is_empty();
        let bytes = size(&delta);
        self.bytes += bytes;
        budget.used.fetch_add(bytes, Ordering::Relaxed);
        self.deltas.push_back((seq, delta));
        // Each room gives way by its own oldest.
        while budget.is_exceeded() && self.drop_first() {}
        is_first && !self.deltas.is_empty()
    }

    /// The first that is kept; behind `here` when none is.
    pub(super) fn first(&self, here: Seq) -> Seq {
        self.deltas.front().map_or(here.next(), |(seq, _)| *seq)
    }

    /// A minute is over; whether another one begins.
    pub(super) fn age(&mut self) -> bool {
        for _ in 0..self.old {
            self.drop_first();
        }
        self.old = self.deltas.len();
        self.old > 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.deltas.is_empty()
    }

    /// All that is kept, in order, of a room that stood at `here` while the store stands at `head`
    /// now. None when something between the two is not kept.
    pub(super) fn take_beyond(&mut self, head: Seq, here: Seq) -> Option<Vec<Delta>> {
        let first = self.first(here);
        let deltas = self.take();
        (first <= head.next()).then_some(deltas)
    }

    /// Gives everything up.
    pub(super) fn take(&mut self) -> Vec<Delta> {
        let deltas = std::mem::take(&mut self.deltas);
        self.give_back(self.bytes);
        (self.bytes, self.old) = (0, 0);
        deltas.into_iter().map(|(_, delta)| delta).collect()
    }

    fn drop_first(&mut self) -> bool {
        let Some((_, delta)) = self.deltas.pop_front() else { return false };
        self.old = self.old.saturating_sub(1);
        let bytes = size(&delta);
        self.bytes -= bytes;
        self.give_back(bytes);
        true
    }

    fn give_back(&self, bytes: usize) {
        if let Some(budget) = &self.budget {
            budget.used.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Recent {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

fn size(delta: &Delta) -> usize {
    delta.changes.size() + DELTA_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests;
