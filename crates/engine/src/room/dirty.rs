//! What readers of the document don't know yet.

use std::collections::BTreeSet;

use crate::delta::{Changes, Delta, SetChange, WriteKey};
use crate::document::Document;
use crate::document::collections::Format;
use crate::document::counter::Counted;
use crate::ids::FieldName;
use crate::json::JsonText;

/// What changed, each once however often it did. Only operations without a value stand for
/// themselves.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    pub(super) fields: BTreeSet<FieldName>,
    pub(super) has_text: bool,
    pub(super) is_cleared: bool,
    pub(super) elements: BTreeSet<JsonText>,
    /// In order.
    pub(super) relayed: Vec<Relayed>,
}

/// An operation that has no value to be read later: it is passed on.
#[derive(Debug, Clone)]
pub(super) struct Relayed {
    pub(super) key: WriteKey,
    pub(super) kind: RelayedKind,
}

#[derive(Debug, Clone)]
pub(super) enum RelayedKind {
    /// What was added to the counter.
    Count(i64),
    /// The operation as its client wrote it.
    Format(JsonText),
}

impl Dirty {
    /// Notes what a delta touches. What stands for itself only if it `is_new`.
    pub(super) fn note(&mut self, delta: &Delta, is_new: bool) {
        match &delta.changes {
            Changes::Fields(fields) => {
                self.fields.extend(fields.iter().map(|(field, _)| field.clone()));
            }
            Changes::Text(_) => self.has_text = true,
            Changes::Set(SetChange::Clear) => self.is_cleared = true,
            Changes::Set(SetChange::Add(value) | SetChange::Remove(value)) => {
                self.elements.insert(value.clone());
            }
            Changes::Count(amount) if is_new => {
                self.pass_on(delta.key(), RelayedKind::Count(*amount))
            }
            Changes::Format(operation) if is_new => {
                self.pass_on(delta.key(), RelayedKind::Format(operation.clone()));
            }
            Changes::Count(_) | Changes::Format(_) => {}
        }
    }

    fn pass_on(&mut self, key: WriteKey, kind: RelayedKind) {
        self.relayed.push(Relayed { key, kind });
    }

    /// All that readers of one document need to know to see the other.
    pub(super) fn between(before: &Document, after: &Document) -> Self {
        // Unchanged fields as well: writes that lost may be among what was skipped, and their
        // writers still show them.
        let names = before.fields().chain(after.fields());
        let (known, new) = (before.collections(), after.collections());
        let counted = new.counter().recent().filter(|(id, _)| !known.counter().knows(id));
        let counted = counted.map(|(_, Counted { key, amount })| Relayed {
            key: key.clone(),
            kind: RelayedKind::Count(*amount),
        });
        let formats = new.formats().filter(|(id, _)| !known.has_format(id));
        let formats = formats.map(|(_, Format { key, operation })| Relayed {
            key: key.clone(),
            kind: RelayedKind::Format(operation.clone()),
        });
        Self {
            fields: names.map(|(name, _)| name.clone()).collect(),
            has_text: known.text() != new.text(),
            is_cleared: known.set() != new.set(),
            elements: BTreeSet::new(),
            relayed: counted.chain(formats).collect(),
        }
    }

    /// Whether no value changed that is sent at once.
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
            && !self.is_cleared
            && self.elements.is_empty()
            && self.relayed.is_empty()
    }
}
