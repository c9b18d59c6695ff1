//! What must hold of a store when everything that wrote to it is dead.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use synckit_engine::clock::EditNumber;
use synckit_engine::delta::{Delta, WriteKey};
use synckit_engine::document::Document;
use synckit_engine::ids::{ClientId, DocumentId};
use synckit_engine::position::Seq;
use synckit_engine::snapshot::Snapshot;
use synckit_store::{DeltaPage, DocumentStore, NumberedDelta};

use crate::crew::{Crew, DOCUMENTS};
use crate::ground::Compaction;
use crate::writer::{Edit, Message, document_name};

/// Names an edit within its document.
type Key = (String, u64);

/// What was looked at, for the report.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Checked {
    pub(crate) acknowledged_edits: u64,
    pub(crate) stored_deltas: u64,
}

/// Checks every document against what its writers sent and what a fresh server showed.
pub(crate) async fn check(
    store: &dyn DocumentStore,
    crew: &Crew,
    compaction: Compaction,
    shown: &[Value],
) -> Checked {
    let mut sent: BTreeMap<&str, Vec<(&str, &Message)>> = BTreeMap::new();
    for writer in &crew.writers {
        for message in &writer.messages {
            sent.entry(&message.document).or_default().push((&writer.name, message));
        }
    }
    let mut checked = Checked::default();
    for (number, shown) in (0..DOCUMENTS).zip(shown) {
        let name = document_name(number);
        let messages = sent.remove(name.as_str()).unwrap_or_default();
        let stored = Stored::read(store, &name).await;
        stored.assert_gapless(compaction);
        stored.assert_was_sent(&messages);
        let acknowledged = stored.assert_has_acknowledged(&messages);
        let live: Map<String, Value> = stored.document.live_fields().map(live_field).collect();
        assert_eq!(*shown, json!([live, stored.document.stamp()]), "{name} as a server shows it");
        checked.acknowledged_edits += acknowledged;
        checked.stored_deltas += stored.deltas.len() as u64;
    }
    assert!(sent.is_empty(), "all documents are checked, not {:?}", sent.keys());
    checked
}

fn live_field(
    (name, value): (&synckit_engine::ids::FieldName, &synckit_engine::json::JsonText),
) -> (String, Value) {
    let value = serde_json::from_str(value.as_str()).expect("a stored value is JSON");
    (name.as_str().to_owned(), value)
}

/// One document, read past every server.
struct Stored {
    name: String,
    head: Seq,
    /// The last number that the snapshot covers.
    covered: Seq,
    /// Every delta that is left.
    deltas: Vec<NumberedDelta>,
    /// The snapshot and what follows it.
    document: Document,
}

impl Stored {
    async fn read(store: &dyn DocumentStore, name: &str) -> Self {
        let id = DocumentId::new(name).expect("a document id");
        let Some(record) = store.get(&id).await.expect("get") else {
            let (head, document) = (Seq(0), Document::new());
            return Self { name: name.into(), head, covered: head, deltas: vec![], document };
        };
        let mut snapshot = Snapshot::default();
        snapshot.position.epoch = record.head.epoch;
        if let Some(stored) = record.snapshot {
            snapshot = Snapshot::decode(&stored.bytes).expect("a snapshot is whole");
            assert_eq!(snapshot.position.seq, stored.position.seq, "the snapshot of {name}");
            snapshot.position = stored.position;
        }
        let (mut position, mut document) = (snapshot.position, snapshot.document);
        loop {
            let page = store.deltas_after(&id, position).await.expect("deltas_after");
            let DeltaPage::Deltas(page) = page else {
                panic!("{name} has no history after its snapshot at {position:?}: {page:?}")
            };
            let Some(last) = page.last() else { break };
            position.seq = last.seq;
            for numbered in &page {
                document.apply(&numbered.delta);
            }
        }
        assert_eq!(position, record.head, "the history of {name} ends at its head");
        let clock = store.vector_clock(&id).await.expect("vector_clock");
        assert_eq!(*document.clock(), clock, "the clock of {name}");
        let mut deltas: Vec<NumberedDelta> = Vec::new();
        loop {
            let after = deltas.last().map_or(Seq(0), |numbered| numbered.seq);
            let page = store.deltas_since(&id, None, after).await.expect("deltas_since");
            if page.is_empty() {
                break;
            }
            deltas.extend(page);
        }
        let covered = snapshot.position.seq;
        Self { name: name.into(), head: record.head.seq, covered, deltas, document }
    }

    /// Whether no delta was removed.
    fn is_complete(&self) -> bool {
        self.deltas.len() as u64 == self.head.0
    }

    fn assert_gapless(&self, compaction: Compaction) {
        let Self { name, head, .. } = self;
        assert!(self.deltas.is_sorted_by(|a, b| a.seq < b.seq), "{name}: a number twice");
        let above = self.deltas.iter().map(|numbered| numbered.seq.0);
        let above = above.filter(|seq| *seq > self.covered.0);
        assert!(above.eq(self.covered.0 + 1..=head.0), "{name} has gaps above its snapshot");
        if compaction != Compaction::Often {
            assert!(self.deltas.iter().map(|n| n.seq.0).eq(1..=head.0), "{name} has gaps");
        }
        if compaction == Compaction::Never {
            assert_eq!(self.covered, Seq(0), "{name} has a snapshot");
        }
        if self.is_complete() {
            let mut replayed = Document::new();
            for numbered in &self.deltas {
                replayed.apply(&numbered.delta);
            }
            assert_eq!(replayed, self.document, "{name} from its deltas and from its snapshot");
        }
    }

    /// What is stored was sent, letter for letter, and no delta is there twice.
    fn assert_was_sent(&self, messages: &[(&str, &Message)]) {
        let mut sent: BTreeMap<Key, &Edit> = BTreeMap::new();
        for (client, message) in messages {
            sent.extend(message.edits.iter().map(|edit| (key(client, edit), edit)));
        }
        let mut seen = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for NumberedDelta { seq, delta } in &self.deltas {
            let name = format!("delta {} of {}", seq.0, self.name);
            let key = (delta.client.as_str().to_owned(), delta.number.0);
            let edit = sent.get(&key).unwrap_or_else(|| panic!("{name} was never sent: {key:?}"));
            assert_eq!(delta.timestamp, edit.timestamp, "{name}");
            let data: Value = serde_json::from_str(&delta.data()).expect("data is JSON");
            assert_eq!(data, Value::Object(edit.changes.clone()), "{name}");
            assert!(seen.insert(key) && ids.insert(delta.id.clone()), "{name} is there twice");
        }
        for (field, held) in self.document.fields() {
            let key = (held.key.client.as_str().to_owned(), held.key.number.0);
            let edit = sent.get(&key).unwrap_or_else(|| panic!("{field} was never sent: {key:?}"));
            let value: Value = serde_json::from_str(held.value.as_json()).expect("JSON");
            assert_eq!(Some(&value), edit.changes.get(field.as_str()), "{field} of {}", self.name);
        }
    }

    /// Every acknowledged edit is there, as a delta or, where those were removed, in what they left
    /// behind; and none has lost to an older one. Edits of one message came together.
    fn assert_has_acknowledged(&self, messages: &[(&str, &Message)]) -> u64 {
        let name = &self.name;
        let there: BTreeSet<Key> = self.deltas.iter().map(|n| key_of(&n.delta)).collect();
        let clock = self.document.clock();
        let mut count = 0;
        for (client, message) in messages {
            let found = message.edits.iter().filter(|edit| there.contains(&key(client, edit)));
            let found = found.count();
            if self.is_complete() {
                assert!(found == 0 || found == message.edits.len(), "{name}: torn {message:?}");
            }
            if !message.is_acknowledged {
                continue;
            }
            for edit in &message.edits {
                count += 1;
                let removed = self.covered > Seq(0) && clock.get(client).0 >= edit.counter;
                let is_there = there.contains(&key(client, edit));
                let lost = format!("{name} lost edit {} of {client}", edit.counter);
                assert!(is_there || (!self.is_complete() && removed), "{lost}");
                let key = WriteKey {
                    timestamp: edit.timestamp,
                    number: EditNumber(edit.counter),
                    client: ClientId::new(client).expect("a client id"),
                };
                for field in edit.changes.keys() {
                    let held = self.document.field(field).map(|held| &held.key);
                    assert!(held >= Some(&key), "{lost}: {field} holds {held:?}");
                }
            }
        }
        count
    }
}

fn key(client: &str, edit: &Edit) -> Key {
    (client.to_owned(), edit.counter)
}

fn key_of(delta: &Delta) -> Key {
    (delta.client.as_str().to_owned(), delta.number.0)
}
