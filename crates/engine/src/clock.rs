//! Vector clocks: how many edits of each client a replica has seen.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::ids::ClientId;

/// How two clocks stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockOrder {
    /// The same counters.
    Equal,
    /// The first has seen less than the second.
    Before,
    /// The first has seen more than the second.
    After,
    /// Each has seen something that the other has not.
    Concurrent,
}

/// Client → counter. A missing entry counts as 0, and 0 is never stored, so equal clocks are
/// equal as values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VectorClock {
    /// Sorted by client id.
    entries: Vec<(ClientId, u64)>,
}

impl VectorClock {
    /// The clock that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The clock of one edit: the `counter`-th of `client`.
    #[must_use]
    pub fn dot(client: &ClientId, counter: u64) -> Self {
        let mut clock = Self::new();
        clock.raise(client, counter);
        clock
    }

    /// The counter of `client`, 0 when it has none.
    #[must_use]
    pub fn get(&self, client: &str) -> u64 {
        self.find(client).ok().and_then(|at| self.entries.get(at)).map_or(0, |entry| entry.1)
    }

    /// Sees the `counter`-th edit of `client`, and with it all before. Never lowers.
    pub fn raise(&mut self, client: &ClientId, counter: u64) {
        if counter == 0 {
            return;
        }
        match self.find(client.as_str()) {
            Ok(at) => {
                if let Some(entry) = self.entries.get_mut(at) {
                    entry.1 = entry.1.max(counter);
                }
            }
            Err(at) => self.entries.insert(at, (client.clone(), counter)),
        }
    }

    /// The pointwise maximum of both.
    pub fn merge(&mut self, other: &Self) {
        for (client, counter) in &other.entries {
            self.raise(client, *counter);
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
        other.entries.iter().all(|(client, counter)| self.get(client.as_str()) >= *counter)
    }

    /// The entries, sorted by client id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&ClientId, u64)> {
        self.entries.iter().map(|(client, counter)| (client, *counter))
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

impl FromIterator<(ClientId, u64)> for VectorClock {
    fn from_iter<I: IntoIterator<Item = (ClientId, u64)>>(entries: I) -> Self {
        let mut clock = Self::new();
        for (client, counter) in entries {
            clock.raise(&client, counter);
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
                f.write_str("an object of counters")
            }
            fn visit_map<A>(self, mut map: A) -> Result<VectorClock, A::Error>
            where
                A: serde::de::MapAccess<'de>,
            {
                let mut clock = VectorClock::new();
                while let Some((client, counter)) = map.next_entry::<ClientId, u64>()? {
                    clock.raise(&client, counter);
                }
                Ok(clock)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
