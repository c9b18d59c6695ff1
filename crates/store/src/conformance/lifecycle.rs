//! S7, S8 and S10, listings, and the checks of the original test suite.

use std::collections::BTreeSet;

use synckit_engine::limits::DOCUMENT_ID_BYTES_MAX;

use super::*;
use crate::contract::StoredSnapshot;

/// Each read of what isn't there says so, without an error.
pub async fn s7_absence_is_not_an_error(store: &dyn DocumentStore) {
    let id = document("s7-absent");
    let snapshot =
        StoredSnapshot { bytes: vec![1], clock: clock(&[]), position: Position::default() };
    assert_eq!(store.get(&id).await.expect("get"), None);
    assert!(!store.exists(&id).await.expect("exists"));
    assert!(!store.delete(&id).await.expect("delete"));
    assert_eq!(store.vector_clock(&id).await.expect("vector_clock"), clock(&[]));
    assert_eq!(store.snapshot(&id).await.expect("snapshot"), None);
    assert!(!store.save_snapshot(&id, &snapshot).await.expect("save_snapshot"));
    assert_eq!(store.compact(&id, &clock(&[("x", 1)]), None).await.expect("compact"), 0);
    assert_eq!(store.deltas_since(&id, None, Seq(0)).await.expect("deltas_since"), []);
    let page = store.deltas_after(&id, Position::default()).await.expect("deltas_after");
    assert_eq!(page, DeltaPage::OtherEpoch);
    assert_eq!(store.heads(std::slice::from_ref(&id)).await.expect("heads"), [None]);
}

/// What comes after a delete has nothing of what was before.
pub async fn s8_delete_ends_the_epoch(store: &dyn DocumentStore) {
    let id = document("s8-epoch");
    let old = append_all(store, &id, &[delta("x", 1), delta("x", 2)]).await;
    let saved = StoredSnapshot { bytes: vec![1], clock: clock(&[("x", 2)]), position: old };
    assert!(store.save_snapshot(&id, &saved).await.expect("save_snapshot"));
    assert!(store.delete(&id).await.expect("delete"));
    assert!(!store.delete(&id).await.expect("delete"));
    assert_eq!(store.get(&id).await.expect("get"), None);
    assert_eq!(all_since(store, &id, None).await, []);
    let page = store.deltas_after(&id, old).await.expect("deltas_after");
    assert_eq!(page, DeltaPage::OtherEpoch);

    // Not even an id is remembered.
    let new = append_all(store, &id, &[delta("x", 2)]).await;
    assert_ne!(new.epoch, old.epoch);
    assert_eq!(new.seq, Seq(1));
    for after in [old, start_of(old.epoch)] {
        let page = store.deltas_after(&id, after).await.expect("deltas_after");
        assert_eq!(page, DeltaPage::OtherEpoch);
    }
    let record = store.get(&id).await.expect("get").expect("a record");
    assert_eq!((record.head, record.snapshot), (new, None));
    assert_eq!(store.vector_clock(&id).await.expect("vector_clock"), clock(&[("x", 2)]));
}

/// A delta makes its document.
pub async fn s10_the_first_write_creates(store: &dyn DocumentStore) {
    let id = document("s10-first");
    let head = append_all(store, &id, &[delta("x", 1)]).await;
    let record = store.get(&id).await.expect("get").expect("a record");
    assert_eq!((&record.id, record.head), (&id, head));
    assert_eq!(store.vector_clock(&id).await.expect("vector_clock"), clock(&[("x", 1)]));
    assert!(store.exists(&id).await.expect("exists"));
}

/// Looking for a document leaves no trace of the question.
pub async fn s10_reading_does_not_create(store: &dyn DocumentStore) {
    s7_absence_is_not_an_error(store).await;
    assert!(!store.exists(&document("s7-absent")).await.expect("exists"));
}

/// The second time it is the same document, and its first delta is number one.
pub async fn s10_get_or_create_makes_an_empty_document(store: &dyn DocumentStore) {
    let id = document("s10-empty");
    let made = store.get_or_create(&id).await.expect("get_or_create");
    assert_eq!((&made.id, made.head.seq, &made.snapshot), (&id, Seq(0), &None));
    assert!(store.vector_clock(&id).await.expect("vector_clock").is_empty());
    assert_eq!(store.get_or_create(&id).await.expect("get_or_create"), made);
    assert_eq!(store.get(&id).await.expect("get"), Some(made.clone()));
    assert_eq!(history(store, &id, made.head).await, []);
    let head = append_all(store, &id, &[delta("x", 1)]).await;
    assert_eq!(head, Position { epoch: made.head.epoch, seq: Seq(1) });
}

/// The three checks of the original storage tests, with their values.
pub async fn seed_checks_hold(store: &dyn DocumentStore) {
    let id = document("test-doc-1");
    store.get_or_create(&id).await.expect("get_or_create");
    assert!(store.get(&id).await.expect("get").is_some());

    let id = document("test-doc-2");
    store.get_or_create(&id).await.expect("get_or_create");
    let delta = Delta {
        id: DeltaId::new("delta-1"),
        client: client("client-1"),
        number: EditNumber(1),
        timestamp: 1_234_567_890,
        changes: Delta::parse_data(r#"{"test":"value"}"#).expect("valid data"),
    };
    append(store, &id, std::slice::from_ref(&delta)).await;
    let deltas = store.deltas_since(&id, None, Seq(0)).await.expect("deltas_since");
    assert_eq!(deltas, [NumberedDelta { seq: Seq(1), delta }]);

    let id = document("test-doc-3");
    let made = store.get_or_create(&id).await.expect("get_or_create");
    let bytes = b"snapshot data".to_vec();
    let saved = StoredSnapshot { bytes, clock: clock(&[("client-1", 5)]), position: made.head };
    assert!(store.save_snapshot(&id, &saved).await.expect("save_snapshot"));
    assert_eq!(store.snapshot(&id).await.expect("snapshot"), Some(saved));
}

/// The longest names the engine allows fit everywhere.
pub async fn ids_of_every_length_are_kept(store: &dyn DocumentStore) {
    let id = document(&"d".repeat(DOCUMENT_ID_BYTES_MAX));
    let name = "日".repeat(85);
    let longest = Delta { id: DeltaId::new(&"i".repeat(255)), ..delta(&name, 1 << 48) };
    let head = append_all(store, &id, std::slice::from_ref(&longest)).await;
    let read = history(store, &id, start_of(head.epoch)).await;
    assert_eq!(read, [NumberedDelta { seq: Seq(1), delta: longest }]);
    let shorter = document(&"d".repeat(DOCUMENT_ID_BYTES_MAX - 1));
    assert!(!store.exists(&shorter).await.expect("exists"));
    assert!(store.exists(&id).await.expect("exists"));
}

/// Byte order, pages, limits.
pub async fn ids_are_listed_in_byte_order(store: &dyn DocumentStore) {
    assert_eq!(store.document_ids(10, None).await.expect("document_ids"), []);
    let ids = ["-", "0", "A", "Z", "_", "a", "a-", "a:b", "aZ", "a_", "aa", "b"].map(document);
    for id in ids.iter().rev() {
        store.get_or_create(id).await.expect("get_or_create");
    }
    let sorted: BTreeSet<&str> = ids.iter().map(DocumentId::as_str).collect();
    for limit in [1, 5, ids.len(), 1_000, usize::MAX] {
        let mut listed: Vec<DocumentId> = Vec::new();
        loop {
            let page = store.document_ids(limit, listed.last()).await.expect("document_ids");
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            listed.extend(page);
        }
        assert!(listed.iter().map(DocumentId::as_str).eq(sorted.iter().copied()), "{listed:?}");
    }
    assert_eq!(store.document_ids(0, None).await.expect("document_ids"), []);
    let absent = document("aY");
    let after = store.document_ids(1, Some(&absent)).await.expect("document_ids");
    assert_eq!(after, [document("aZ")]);
}

/// One answer for each question, in order, also for the same question twice.
pub async fn heads_are_answered_in_order(store: &dyn DocumentStore) {
    let [one, two, none] = ["heads-1", "heads-2", "heads-none"].map(document);
    let first = append_all(store, &one, &[delta("x", 1)]).await;
    let second = append_all(store, &two, &[delta("x", 1), delta("x", 2)]).await;
    let asked = [two.clone(), none, one, two];
    let heads = store.heads(&asked).await.expect("heads");
    assert_eq!(heads, [Some(second), None, Some(first), Some(second)]);
    assert_eq!(store.heads(&[]).await.expect("heads"), []);
}

/// A document is made once and written many times.
pub async fn times_move_with_writes(store: &dyn DocumentStore) {
    let id = document("times");
    let made = store.get_or_create(&id).await.expect("get_or_create");
    append(store, &id, &[delta("x", 1)]).await;
    let written = store.get(&id).await.expect("get").expect("a record");
    assert_eq!(written.created_at, made.created_at);
    assert!(written.updated_at > made.updated_at);
}
