//! Where a replica stands in a document's history.

use serde::{Deserialize, Serialize};

/// One life of a document in one history of its store. It changes when the document is deleted and
/// made again, and when the store goes back (another server of the database takes over, a backup is
/// put back), so that nobody goes on from another history.
///
/// A store that can go back gives out the sum of three: the number of the life, below
/// half of [`TIMELINE_UNIT`] and 0 where there is no document; how often a server took over, in units of
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
    /// Whether a later server of the same database gives this epoch, one that took over from the
    /// server that gave `before`. The life of the document may be another: a standby that had not
    /// even received its first delta makes it again.
    #[must_use]
    pub fn is_takeover_of(self, before: Self) -> bool {
        let later = self.0.wrapping_sub(before.0).wrapping_add(TIMELINE_UNIT / 2) / TIMELINE_UNIT;
        (1..TAKEOVERS_MAX).contains(&later)
    }

    /// Whether both are the same life of one document, in whatever history of its database.
    #[must_use]
    pub fn is_same_life(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).is_multiple_of(TIMELINE_UNIT)
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
    fn a_takeover_is_by_a_later_server_of_the_same_origin_whatever_life_it_knows() {
        const LIFE: u64 = 70_000;
        let before = Epoch(u64::MAX - 5);
        let after = |by: u64| Epoch(before.0.wrapping_add(by));
        for later in [1, 2, 4_095] {
            for life in [0, LIFE, 0_u64.wrapping_sub(LIFE)] {
                let epoch = after((later * TIMELINE_UNIT).wrapping_add(life));
                assert!(epoch.is_takeover_of(before), "{later}, {life}");
                assert!(!before.is_takeover_of(epoch), "{later}, {life}: the other way round");
                assert_eq!(epoch.is_same_life(before), life == 0);
            }
        }
        for other in [0, 1, LIFE, 5_000 * TIMELINE_UNIT, 1 << 60] {
            assert!(!after(other).is_takeover_of(before), "{other}");
        }
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
