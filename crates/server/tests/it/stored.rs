//! What the database has, read past the server.

use std::collections::BTreeSet;

use synckit_testkit::Database;

use crate::client::Client;
use crate::load::Writer;
use crate::messages::{Edit, State, tombstone};
use crate::setup::start_server;

/// Names one edit: document, client and counter.
type Key = (String, String, u64);

fn key(edit: &Edit) -> Key {
    (edit.document.clone(), edit.client.clone(), edit.counter)
}

/// Every acknowledged edit of some writers.
pub(crate) fn acknowledged(writers: &[Writer]) -> Vec<Edit> {
    writers.iter().flat_map(|writer| writer.acknowledged.iter().cloned()).collect()
}

/// Every delta is there once, and those of each document are numbered without gaps up to its head.
/// Returns what is stored.
async fn stored(database: &Database) -> BTreeSet<Key> {
    let rows = database
        .rows(
            "SELECT document_id, seq, client_id, deltas.vector_clock ->> client_id, head_seq \
             FROM deltas JOIN documents ON documents.id = document_id ORDER BY document_id, seq",
        )
        .await;
    let mut known = BTreeSet::new();
    let mut place = (String::new(), 0, 0);
    for row in &rows {
        let [document, seq, client, counter, head] = row.as_slice() else { panic!("{row:?}") };
        let [seq, counter, head] =
            [seq, counter, head].map(|number| number.parse::<u64>().expect("a number"));
        if place.0 != *document {
            assert_eq!(place.1, place.2, "the head of {}", place.0);
            place = (document.clone(), 0, head);
        }
        assert_eq!(seq, place.1 + 1, "{document} has no gaps");
        place.1 = seq;
        let new = known.insert((document.clone(), client.clone(), counter));
        assert!(new, "edit {counter} of {client} is stored twice in {document}");
    }
    assert_eq!(place.1, place.2, "the head of {}", place.0);
    known
}

/// What is stored is what was acknowledged, each edit once, nothing else, without gaps.
pub(crate) async fn assert_stored_once(database: &Database, acknowledged: &[Edit]) {
    let stored = stored(database).await;
    let acknowledged: BTreeSet<Key> = acknowledged.iter().map(key).collect();
    let lost = Vec::from_iter(acknowledged.difference(&stored));
    assert!(lost.is_empty(), "acknowledged and not stored: {lost:?}");
    let unknown = Vec::from_iter(stored.difference(&acknowledged));
    assert!(unknown.is_empty(), "stored and not acknowledged: {unknown:?}");
}

/// The states of documents as a server shows them that has just loaded them.
pub(crate) async fn fresh_states(database: &Database, documents: &[&str]) -> Vec<State> {
    let server = start_server(&database.url(), &[]).await;
    let mut client = Client::connect(server.address()).await;
    let mut states = Vec::new();
    for document in documents {
        states.push(client.sync(document).await);
    }
    states
}

/// A state has the last value of every field that these writers wrote, and no deleted one.
pub(crate) fn assert_shows_all(state: &State, document: &str, writers: &[Writer]) {
    for (field, value) in writers.iter().flat_map(|writer| writer.fields_of(document)) {
        let shown = state.fields.get(field);
        let wanted = (*value != tombstone()).then_some(value);
        assert_eq!(shown, wanted, "{field} of {document}");
    }
}
