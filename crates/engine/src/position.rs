//! Where a replica stands in a document's history.

use serde::{Deserialize, Serialize};

/// One life of a document in one history of its store. It changes when the document is deleted and
/// made again, and when the store goes back (another server of the database takes over, a backup is
/// put back), so that nobody goes on from another history.
///
/// A store that can go back gives out the sum of three: the number of the life, below
/// [`TIMELINE_UNIT`] and 0 where there is no document; how often a server took over, in units of
/// that; and a number of the store's origin, drawn by chance.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Epoch(pub u64);

/// See [`Epoch`].
pub const TIMELINE_UNIT: u64 = 1 << 32;

/// More servers than take over from each other in the life of a room, and few enough that no other
/// origin is taken for one.
const TAKEOVERS_MAX: u64 = 1 << 12;

impl Epoch {
    /// Whether this is the same life of the same document, after another server of the database
    /// took over from the one that gave `before`.
    #[must_use]
    pub fn is_takeover_of(self, before: Self) -> bool {
        let later = self.0.wrapping_sub(before.0);
        later.is_multiple_of(TIMELINE_UNIT) && (1..TAKEOVERS_MAX).contains(&(later / TIMELINE_UNIT))
    }
}

/// The number of a delta in its document: 1, 2, 3 … without gaps, in commit order. 0 stands
/// before the first.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Seq(pub u64);

impl Seq {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A point in a document's history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Which life of the document.
    pub epoch: Epoch,
    /// The last delta that is included.
    pub seq: Seq,
}

/// What became of a delta that was given to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Stored, under this number.
    Stored(Seq),
    /// Was already there, under this number.
    Repeated(Seq),
}

/// What a delta that arrives with a number is to a replica at some position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The very next one: apply it.
    Next,
    /// Already included: skip it.
    Stale,
    /// Others are missing before it: fetch them first.
    Gap,
    /// Of another life of the document: load again.
    OtherEpoch,
}

impl Position {
    /// Whether this is where the same document stands after another server of the database took
    /// over from the one that gave `before`, written or not there yet.
    #[must_use]
    pub fn is_takeover_of(self, before: Self) -> bool {
        if self.seq > Seq(0) {
            return self.epoch.is_takeover_of(before.epoch);
        }
        // Without a life, or in its first moment: a takeover less the number of the life before.
        let later = self.epoch.0.wrapping_sub(before.epoch.0);
        before.epoch != self.epoch && (1..TAKEOVERS_MAX).contains(&later.div_ceil(TIMELINE_UNIT))
    }

    /// What a delta numbered `seq` of life `epoch` is to a replica standing here.
    #[must_use]
    pub fn arrival(self, epoch: Epoch, seq: Seq) -> Arrival {
        if epoch != self.epoch {
            Arrival::OtherEpoch
        } else if seq == self.seq.next() {
            Arrival::Next
        } else if seq <= self.seq {
            Arrival::Stale
        } else {
            Arrival::Gap
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_takeover_is_a_later_server_with_the_same_life_and_origin() {
        let before = Epoch(u64::MAX - 5);
        assert!(Epoch(before.0.wrapping_add(3 * TIMELINE_UNIT)).is_takeover_of(before));
        for other in
            [0, 1, TIMELINE_UNIT - 1, TIMELINE_UNIT + 1, 0_u64.wrapping_sub(TIMELINE_UNIT), 1 << 60]
        {
            assert!(!Epoch(before.0.wrapping_add(other)).is_takeover_of(before), "{other}");
        }
    }

    #[test]
    fn a_document_that_a_later_server_has_not_yet_is_a_takeover_too() {
        let origin = u64::MAX / 3;
        let before = Position { epoch: Epoch(origin + 7), seq: Seq(3) };
        let gone = |epoch: u64| Position { epoch: Epoch(epoch), seq: Seq(0) };
        assert!(gone(origin + TIMELINE_UNIT).is_takeover_of(before));
        assert!(!gone(origin).is_takeover_of(before), "it was deleted");
        assert!(!gone(0).is_takeover_of(before), "another origin");
        assert!(!gone(before.epoch.0).is_takeover_of(before));
    }

    #[test]
    fn an_arrival_is_next_stale_gap_or_foreign() {
        let here = Position { epoch: Epoch(7), seq: Seq(3) };
        assert_eq!(here.arrival(Epoch(7), Seq(4)), Arrival::Next);
        assert_eq!(here.arrival(Epoch(7), Seq(3)), Arrival::Stale);
        assert_eq!(here.arrival(Epoch(7), Seq(5)), Arrival::Gap);
        assert_eq!(here.arrival(Epoch(8), Seq(4)), Arrival::OtherEpoch);
    }
}
