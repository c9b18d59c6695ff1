//! A document: fields that each keep their newest write, and what it may hold besides them. Owns what
//! a history comes to; knows neither who stored it nor who reads it.

pub mod collections;
pub mod counter;
pub mod set;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::VectorClock;
use crate::delta::{Change, Changes, Delta, WriteKey};
use crate::ids::{FieldName, Millis};
use collections::Collections;

/// What became of one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is the field's value now.
    Won,
    /// The field keeps its newer write.
    Lost,
    /// It is the write that the field already has.
    Duplicate,
}

/// A field with the write that won it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Value or tombstone.
    pub value: Change,
    /// The key under which it won.
    pub key: WriteKey,
}

/// Fields under the last-writer-wins rule, with the clock and the document stamp that clients
/// need to converge. The same deltas in the same order give the same document on every node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Sorted, so that every node lists them alike.
    fields: BTreeMap<FieldName, Field>,
    clock: VectorClock,
    stamp: u64,
    /// Stored apart, so that a document of fields only has the form it always had.
    #[serde(skip)]
    pub(crate) collections: Box<Collections>,
}

impl Document {
    /// The document nobody has written.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies every change of `delta`, which is seen from then on; whether any of it was new here.
    pub fn apply(&mut self, delta: &Delta) -> bool {
        let key = delta.key();
        let mut is_new = false;
        if let Changes::Fields(fields) = &delta.changes {
            for (field, change) in fields {
                is_new |= self.apply_change(field, change, &key) != Outcome::Duplicate;
            }
        } else {
            is_new = self.collections.apply(delta, &key);
            self.stamp = self.stamp.saturating_add(1).max(key.number.0);
        }
        self.clock.raise(&delta.client, delta.number);
        is_new
    }

    /// Whether the document, as it is, does not show that it has seen this delta.
    #[must_use]
    pub fn lacks(&self, delta: &Delta) -> bool {
        match &delta.changes {
            Changes::Fields(fields) => fields.iter().any(|(name, _)| {
                self.fields.get(name.as_str()).is_none_or(|field| field.key < delta.key())
            }),
            Changes::Text(added) => !added.minus(self.collections.text()).is_empty(),
            Changes::Count(_) => !self.collections.counter().knows(&delta.id),
            // Both recognise what they have.
            Changes::Set(_) | Changes::Format(_) => true,
        }
    }

    /// Applies one change and moves the document stamp.
    ///
    /// Clients take a value only if the greatest entry of its clock beats what they hold, their
    /// own edit count included. So the stamp passes that count, and after a lost write it passes
    /// it by one, so that the winner replaces what the loser shows its user.
    pub fn apply_change(&mut self, field: &FieldName, change: &Change, key: &WriteKey) -> Outcome {
        let outcome = match self.fields.get_mut(field.as_str()) {
            None => {
                let won = Field { value: change.clone(), key: key.clone() };
                self.fields.insert(field.clone(), won);
                Outcome::Won
            }
            Some(held) if *key > held.key => {
                *held = Field { value: change.clone(), key: key.clone() };
                Outcome::Won
            }
            Some(held) if *key == held.key => Outcome::Duplicate,
            Some(_) => Outcome::Lost,
        };
        // What another node sends may hold any number, and must not end the room.
        self.stamp = match outcome {
            Outcome::Won => self.stamp.saturating_add(1).max(key.number.0),
            Outcome::Lost | Outcome::Duplicate => self.stamp.max(key.number.0).saturating_add(1),
        };
        outcome
    }

    /// Forgets deletions older than `before`; how many. Only for a copy that is about to be stored,
    /// and only when nothing older than `before` is let in any more: such a write would bring the
    /// field back here and not where the deletion is still known.
    pub fn forget_tombstones(&mut self, before: Millis) -> usize {
        let known = self.fields.len();
        self.fields
            .retain(|_, field| field.value != Change::Delete || field.key.timestamp >= before);
        known - self.fields.len() + self.collections.forget(before)
    }

    /// The document stamp: 0 until the first write, then rising with every one.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Every edit that was applied.
    #[must_use]
    pub fn clock(&self) -> &VectorClock {
        &self.clock
    }

    /// Text, counter, set and formats.
    #[must_use]
    pub fn collections(&self) -> &Collections {
        &self.collections
    }

    /// One field, tombstone included.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.get(name)
    }

    /// All fields by name, tombstones included.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&FieldName, &Field)> {
        self.fields.iter()
    }

    /// The deltas that make this document, apart from what only its own history can tell: losing
    /// writes, and what was counted longer ago than is remembered. No text among them takes many
    /// more bytes than `text_bytes`.
    #[must_use]
    pub fn to_deltas(&self, text_bytes: usize) -> Vec<Delta> {
        let fields = self.fields.iter().map(|(name, field)| {
            (field.key.clone(), vec![(name.clone(), field.value.clone())].into())
        });
        let mut deltas: Vec<_> = fields.map(|(key, changes)| Delta::of(&key, changes)).collect();
        deltas.extend(self.collections.to_deltas(text_bytes));
        deltas
    }

    /// The fields that have a value, with its JSON text.
    pub fn live_fields(&self) -> impl Iterator<Item = (&FieldName, &crate::json::JsonText)> {
        self.fields.iter().filter_map(|(name, field)| match &field.value {
            Change::Set(value) => Some((name, value)),
            Change::Delete => None,
        })
    }
}
