//! Where a replica stands in a document's history.

use serde::{Deserialize, Serialize};

/// One life of a document. It changes when the document is deleted and made again, so that
/// nobody goes on from another history.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Epoch(pub u64);

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
    fn an_arrival_is_next_stale_gap_or_foreign() {
        let here = Position { epoch: Epoch(7), seq: Seq(3) };
        assert_eq!(here.arrival(Epoch(7), Seq(4)), Arrival::Next);
        assert_eq!(here.arrival(Epoch(7), Seq(3)), Arrival::Stale);
        assert_eq!(here.arrival(Epoch(7), Seq(5)), Arrival::Gap);
        assert_eq!(here.arrival(Epoch(8), Seq(4)), Arrival::OtherEpoch);
    }
}
