//! The numbers of edits, and vector clocks: which edits of each client a replica has seen.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::ClientId;

/// Which of its client's edits one is: 1, 2, 3 … as the client counts. 0 stands before the first.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct EditNumber(pub u64);

impl EditNumber {
    /// The number after this one; the greatest has none.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for EditNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How two clocks stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockOrder {
    /// The same numbers.
    Equal,
    /// The first has seen less than the second.
    Before,
    /// The first has seen more than the second.
    After,
    /// Each has seen something that the other has not.
    Concurrent,
}

/// Client → number of its newest edit. A missing entry counts as 0, and 0 is never stored, so equal clocks are
/// equal as values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VectorClock {
    /// Sorted by client id.
    entries: Vec<(ClientId, EditNumber)>,
}

impl VectorClock {
    /// The clock that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The clock of one edit: the `number`-th of `client`.
    #[must_use]
    pub fn dot(client: &ClientId, number: EditNumber) -> Self {
        let mut clock = Self::new();
        clock.raise(client, number);
        clock
    }

    /// The newest edit of `client`, 0 when none was seen.
    #[must_use]
    pub fn get(&self, client: &str) -> EditNumber {
        let entry = self.find(client).ok().and_then(|at| self.entries.get(at));
        entry.map(|entry| entry.1).unwrap_or_default()
    }

    /// Sees the `number`-th edit of `client`, and with it all before. Never lowers.
    pub fn raise(&mut self, client: &ClientId, number: EditNumber) {
        if number == EditNumber(0) {
            return;
        }
        match self.find(client.as_str()) {
            Ok(at) => {
                if let Some(entry) = self.entries.get_mut(at) {
                    entry.1 = entry.1.max(number);
                }
            }
            Err(at) => self.entries.insert(at, (client.clone(), number)),
        }
    }

    /// Whether this edit of `client` was seen.
    #[must_use]
    pub fn has_seen(&self, client: &ClientId, number: EditNumber) -> bool {
        self.get(client.as_str()) >= number
    }

    /// The pointwise maximum of both.
    pub fn merge(&mut self, other: &Self) {
        for (client, number) in &other.entries {
            self.raise(client, *number);
        }
    }

    /// How `self` stands to `other`.
    #[must_use]
    pub fn compare(&self, other: &Self) -> ClockOrder {
        match (self.covers(other), other.covers(self)) {
            (true, true) => ClockOrder::Equal,
            (true, false) => ClockOrder::After,
            (false, true) => ClockOrder::Before,
            (false, false) => ClockOrder::Concurrent,
        }
    }

    /// Whether everything that `other` has seen is seen here too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.entries.iter().all(|(client, number)| self.has_seen(client, *number))
    }

    /// The entries, sorted by client id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&ClientId, EditNumber)> {
        self.entries.iter().map(|(client, number)| (client, *number))
    }

    /// Whether nothing was seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn find(&self, client: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|(id, _)| id.as_str().cmp(client))
    }
}

impl PartialOrd for VectorClock {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.compare(other) {
            ClockOrder::Equal => Some(Ordering::Equal),
            ClockOrder::Before => Some(Ordering::Less),
            ClockOrder::After => Some(Ordering::Greater),
            ClockOrder::Concurrent => None,
        }
    }
}

impl FromIterator<(ClientId, EditNumber)> for VectorClock {
    fn from_iter<I: IntoIterator<Item = (ClientId, EditNumber)>>(entries: I) -> Self {
        let mut clock = Self::new();
        for (client, number) in entries {
            clock.raise(&client, number);
        }
        clock
    }
}

impl Serialize for VectorClock {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for VectorClock {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> serde::de::Visitor<'de> for Entries {
            type Value = VectorClock;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of numbers")
            }
            fn visit_map<A>(self, mut map: A) -> Result<VectorClock, A::Error>
            where
                A: serde::de::MapAccess<'de>,
            {
                let mut clock = VectorClock::new();
                while let Some((client, number)) = map.next_entry::<ClientId, EditNumber>()? {
                    clock.raise(&client, number);
                }
                Ok(clock)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
