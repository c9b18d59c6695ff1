//! Two clocks that can't be mixed up: one that says when, and one that says how long.
//!
//! The clock on the wall ([`Millis`]) dates edits, and may step at any time: somebody sets it, or a
//! machine finds out what time it is. Whatever is a length of time (presence, rate limits, how long
//! pieces of a frame are kept) is measured between two [`Moment`]s, which know no steps.

use crate::ids::Millis;

/// A moment by a clock that never steps: milliseconds since the process began to count. Means nothing
/// in another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// So many milliseconds later.
    #[must_use]
    pub fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since an earlier moment; none since a later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What both clocks show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For dates.
    pub wall: Millis,
    /// For lengths of time.
    pub moment: Moment,
}
