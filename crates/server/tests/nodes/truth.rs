//! What everybody must show: what the acknowledged edits add up to, and what the store has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use synckit_engine::document::Document;
use synckit_engine::ids::DocumentId;
use synckit_engine::position::Seq;
use synckit_engine::snapshot::Snapshot;
use synckit_store::postgres::{PostgresOptions, PostgresProvider};
use synckit_store::{DeltaPage, StorageProvider};
use synckit_testkit::Database;

use crate::editor::Fields;
use crate::messages::{Edit, tombstone};

/// What edits leave of a document, in whatever order they came: the greatest timestamp, counter
/// and client of each field wins.
pub(crate) fn merged<'a>(edits: impl Iterator<Item = &'a Edit>, document: &str) -> Fields {
    let mut winners: BTreeMap<&str, &Edit> = BTreeMap::new();
    let rank = |edit: &Edit| (edit.timestamp, edit.counter, edit.client.clone());
    for edit in edits.filter(|edit| edit.document == document) {
        let winner = winners.entry(&edit.field).or_insert(edit);
        if rank(edit) > rank(winner) {
            *winner = edit;
        }
    }
    let live = winners.into_iter().filter(|(_, edit)| edit.value != tombstone());
    live.map(|(field, edit)| (field.to_owned(), edit.value.clone())).collect()
}

/// A document as the store has it, read past every server.
pub(crate) struct Stored {
    pub(crate) fields: Fields,
    pub(crate) stamp: u64,
    /// Client and counter of every edit.
    pub(crate) edits: BTreeSet<(String, u64)>,
}

/// Reads documents; none of their deltas may have been removed.
pub(crate) async fn stored(database: &Database, documents: &[&str]) -> Vec<Stored> {
    let options = PostgresOptions::new(database.url().parse().expect("a URL"));
    let provider = PostgresProvider::new(&options).expect("valid options");
    provider.initialize().await.expect("the store opens");
    let mut all = Vec::new();
    for document in documents {
        all.push(one(&provider, document).await);
    }
    all
}

async fn one(provider: &PostgresProvider, name: &str) -> Stored {
    let store = provider.documents();
    let id = DocumentId::new(name).expect("a document id");
    let Some(record) = store.get(&id).await.expect("get") else {
        return Stored { fields: Fields::new(), stamp: 0, edits: BTreeSet::new() };
    };
    let (mut position, mut document) = (record.head, Document::new());
    position.seq = Seq(0);
    if let Some(stored) = record.snapshot {
        let snapshot = Snapshot::decode(&stored.bytes).expect("a snapshot is whole");
        (position, document) = (stored.position, snapshot.document);
    }
    loop {
        let page = store.deltas_after(&id, position).await.expect("deltas_after");
        let DeltaPage::Deltas(page) = page else { panic!("{name} has a gap at {position:?}") };
        let Some(last) = page.last() else { break };
        position.seq = last.seq;
        for numbered in &page {
            document.apply(&numbered.delta);
        }
    }
    assert_eq!(position, record.head, "the history of {name} ends at its head");
    let (mut edits, mut seq) = (BTreeSet::new(), Seq(0));
    loop {
        let page = store.deltas_since(&id, None, seq).await.expect("deltas_since");
        let Some(last) = page.last() else { break };
        for numbered in &page {
            seq.0 += 1;
            assert_eq!(numbered.seq, seq, "{name} has no gaps");
            let key = (numbered.delta.client.as_str().to_owned(), numbered.delta.number.0);
            assert!(edits.insert(key), "{name} has a delta twice: {:?}", numbered.delta);
        }
        assert_eq!(last.seq, seq);
    }
    assert_eq!(seq, record.head.seq, "all deltas of {name} are there");
    let live = document.live_fields().map(|(name, value)| {
        let value: Value = serde_json::from_str(value.as_str()).expect("a stored value is JSON");
        (name.as_str().to_owned(), value)
    });
    Stored { fields: live.collect(), stamp: document.stamp(), edits }
}
