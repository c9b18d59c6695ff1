//! A counter: the sum of its operations, each counted once.
//!
//! Nothing in a sum shows whether an operation is in it, so the names of the newest operations are
//! kept, to recognise one that comes again after its delta was compacted away.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::delta::{Delta, DeltaId, WriteKey};
use crate::ids::Millis;
use crate::limits::COUNTED_MAX;

/// An operation that was counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Who made it, when, and which edit of its client it is.
    pub key: WriteKey,
    /// What it added.
    pub amount: i64,
}

/// The sum and the newest operations in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    total: i128,
    /// By names, which begin with the time.
    recent: BTreeMap<DeltaId, Counted>,
}

impl Counter {
    /// Counts an operation unless it was counted; whether it was counted now.
    pub(super) fn count(&mut self, delta: &Delta, amount: i64) -> bool {
        if self.recent.contains_key(&delta.id) {
            return false;
        }
        self.total = self.total.saturating_add(amount.into());
        self.recent.insert(delta.id.clone(), Counted { key: delta.key(), amount });
        if self.recent.len() > COUNTED_MAX {
            self.recent.pop_first();
        }
        true
    }

    /// Forgets the names of operations older than `before`; how many.
    pub(super) fn forget(&mut self, before: Millis) -> usize {
        let known = self.recent.len();
        self.recent.retain(|_, counted| counted.key.timestamp >= before);
        known - self.recent.len()
    }

    /// The sum of all operations.
    #[must_use]
    pub fn total(&self) -> i128 {
        self.total
    }

    /// The newest operations, which would be recognised if they came again.
    pub fn recent(&self) -> impl ExactSizeIterator<Item = (&DeltaId, &Counted)> {
        self.recent.iter()
    }

    /// Whether the operation of this name is among the newest.
    #[must_use]
    pub fn knows(&self, id: &DeltaId) -> bool {
        self.recent.contains_key(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::EditNumber;
    use crate::delta::Changes;
    use crate::ids::ClientId;

    fn increment(n: usize) -> Delta {
        let client = ClientId::new("ann").unwrap();
        let (number, timestamp) = (EditNumber(n as u64 + 1), n as u64);
        let changes = Changes::Count(2);
        let id = DeltaId::derive(&client, number, timestamp, &changes);
        Delta { id, client, number, timestamp, changes }
    }

    #[test]
    fn an_operation_counts_once_while_its_name_is_known() {
        let mut counter = Counter::default();
        assert!(counter.count(&increment(1), 2));
        assert!(!counter.count(&increment(1), 2));
        assert_eq!(counter.total(), 2);
        assert_eq!(counter.forget(1), 0);
        assert_eq!(counter.forget(2), 1);
        assert_eq!(counter.total(), 2, "what is forgotten still counts");
    }

    #[test]
    fn only_the_newest_names_are_kept() {
        let mut counter = Counter::default();
        for n in 0..=COUNTED_MAX {
            counter.count(&increment(n), 2);
        }
        assert_eq!(counter.recent().len(), COUNTED_MAX);
        let oldest = counter.recent().next().map(|(id, _)| id.clone());
        assert_eq!(oldest, Some(increment(1).id));
    }
}
