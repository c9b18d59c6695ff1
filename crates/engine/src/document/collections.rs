//! What a document may hold besides its fields: a text, a counter, a set, formats of the text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::EditNumber;
use crate::delta::{Changes, Delta, DeltaId, WriteKey};
use crate::ids::{ClientId, Millis};
use crate::json::JsonText;
use crate::text::TextState;

use super::counter::{Counted, Counter};
use super::set::Set;

/// Text, counter, set and formats of one document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collections {
    text: TextState,
    /// When the newest of the text's edits was made.
    text_time: Millis,
    counter: Counter,
    set: Set,
    /// Each once, in the order of their times.
    formats: BTreeMap<DeltaId, Format>,
}

/// A format of a part of the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// Who made it, when, and which edit of its client it is.
    pub key: WriteKey,
    /// The whole operation, as its client wrote it.
    pub operation: JsonText,
}

impl Collections {
    /// Applies what is no write of fields; whether it was new here.
    pub(super) fn apply(&mut self, delta: &Delta, key: &WriteKey) -> bool {
        match &delta.changes {
            Changes::Fields(_) => false,
            Changes::Text(added) => {
                self.text.join(added);
                self.text_time = self.text_time.max(delta.timestamp);
                true
            }
            Changes::Count(amount) => self.counter.count(delta, *amount),
            Changes::Set(change) => self.set.apply(change, key),
            Changes::Format(operation) => {
                let format = Format { key: key.clone(), operation: operation.clone() };
                self.formats.insert(delta.id.clone(), format).is_none()
            }
        }
    }

    /// See [`super::Document::to_deltas`].
    pub(super) fn to_deltas(&self, text_bytes: usize) -> Vec<Delta> {
        let mut deltas = Vec::new();
        if !self.text.is_empty() {
            // Who wrote it stands in the text.
            let key = WriteKey {
                timestamp: self.text_time,
                number: EditNumber(0),
                client: ClientId::server(),
            };
            let parts = self.text.parts(text_bytes).into_iter();
            deltas.extend(parts.map(|part| Delta::of(&key, Changes::Text(part))));
        }
        let set = self.set.operations();
        deltas.extend(set.map(|(change, key)| Delta::of(key, Changes::Set(change))));
        deltas.extend(self.counter.recent().map(|(id, Counted { key, amount })| Delta {
            id: id.clone(),
            ..Delta::of(key, Changes::Count(*amount))
        }));
        deltas.extend(self.formats.iter().map(|(id, Format { key, operation })| Delta {
            id: id.clone(),
            ..Delta::of(key, Changes::Format(operation.clone()))
        }));
        deltas
    }

    /// Forgets what is only needed to recognise what comes again after `before`; how much.
    pub(super) fn forget(&mut self, before: Millis) -> usize {
        self.counter.forget(before) + self.set.forget(before)
    }

    /// Whether there is nothing of all this, and never was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The text; empty where there is none.
    #[must_use]
    pub fn text(&self) -> &TextState {
        &self.text
    }

    /// When the newest of the text's edits was made, in ms since 1970.
    #[must_use]
    pub fn text_time(&self) -> Millis {
        self.text_time
    }

    /// The counter.
    #[must_use]
    pub fn counter(&self) -> &Counter {
        &self.counter
    }

    /// The set.
    #[must_use]
    pub fn set(&self) -> &Set {
        &self.set
    }

    /// The formats of the text, in the order of their times.
    pub fn formats(&self) -> impl ExactSizeIterator<Item = (&DeltaId, &Format)> {
        self.formats.iter()
    }

    /// Whether there is a format of this name.
    #[must_use]
    pub fn has_format(&self, id: &DeltaId) -> bool {
        self.formats.contains_key(id)
    }

    /// Bytes of all formats.
    #[must_use]
    pub fn format_bytes(&self) -> usize {
        self.formats.values().map(|format| format.operation.as_str().len()).sum()
    }
}
