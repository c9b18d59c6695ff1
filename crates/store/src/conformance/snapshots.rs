//! S6: snapshots and compaction.

use std::time::{Duration, SystemTime};

use super::*;
use crate::contract::{Durability, StoredSnapshot};
use crate::error::StoreError;

fn snapshot(position: Position, bytes: &[u8]) -> StoredSnapshot {
    StoredSnapshot { bytes: bytes.to_vec(), clock: clock(&[("x", position.seq.0)]), position }
}

async fn save(store: &dyn DocumentStore, id: &DocumentId, snapshot: &StoredSnapshot) -> bool {
    store.save_snapshot(id, snapshot).await.expect("save_snapshot")
}

async fn write(store: &dyn DocumentStore, id: &DocumentId, count: u64) -> Position {
    let deltas: Vec<_> = (1..=count).map(|counter| delta("x", counter)).collect();
    append_all(store, id, &deltas).await
}

/// Any bytes, also none and very many.
pub async fn s6_a_snapshot_comes_back_byte_for_byte(store: &dyn DocumentStore) {
    let id = document("s6-bytes");
    let head = write(store, &id, 3).await;
    assert_eq!(store.snapshot(&id).await.expect("snapshot"), None);
    let all_bytes: Vec<u8> = (0..=255).collect();
    for bytes in [&b"snapshot data"[..], b"", &all_bytes, &all_bytes.repeat(8_192)] {
        let saved = snapshot(head, bytes);
        assert!(save(store, &id, &saved).await);
        assert_eq!(store.snapshot(&id).await.expect("snapshot").as_ref(), Some(&saved));
        let record = store.get(&id).await.expect("get").expect("a record");
        assert_eq!((record.snapshot, record.head), (Some(saved), head));
    }
}

/// An older snapshot is ignored, one of the same position replaces.
pub async fn s6_a_snapshot_never_goes_back(store: &dyn DocumentStore) {
    let id = document("s6-back");
    let head = write(store, &id, 5).await;
    let at = |seq| Position { seq: Seq(seq), ..head };
    assert!(save(store, &id, &snapshot(at(3), b"three")).await);
    assert!(!save(store, &id, &snapshot(at(2), b"two")).await);
    assert!(!save(store, &id, &snapshot(at(0), b"zero")).await);
    let stored = store.snapshot(&id).await.expect("snapshot").expect("a snapshot");
    assert_eq!(stored, snapshot(at(3), b"three"));
    assert!(save(store, &id, &snapshot(at(3), b"three again")).await);
    assert!(save(store, &id, &snapshot(at(5), b"five")).await);
    let stored = store.snapshot(&id).await.expect("snapshot").expect("a snapshot");
    assert_eq!(stored.bytes, b"five");
}

/// A snapshot of another life is ignored, one of the future is refused.
pub async fn s6_a_snapshot_is_of_its_epoch_and_not_ahead(store: &dyn DocumentStore) {
    let id = document("s6-epoch");
    let old = write(store, &id, 2).await;
    assert!(store.delete(&id).await.expect("delete"));
    assert!(!save(store, &id, &snapshot(old, b"old")).await);
    let new = write(store, &id, 1).await;
    assert!(!save(store, &id, &snapshot(Position { seq: Seq(1), ..old }, b"old")).await);
    let ahead = snapshot(Position { seq: Seq(2), ..new }, b"ahead");
    let error = store.save_snapshot(&id, &ahead).await.expect_err("ahead of the head");
    assert!(matches!(error, StoreError::Misuse(_)), "{error}");
    assert_eq!(store.snapshot(&id).await.expect("snapshot"), None);
}

/// Of what the clock has seen, only what the snapshot covers; of what it covers, only what the
/// clock has seen.
pub async fn s6_compaction_removes_what_is_seen_and_covered(store: &dyn DocumentStore) {
    let id = document("s6-compact");
    let deltas = [delta("a", 1), delta("b", 1), delta("b", 2), delta("a", 3), delta("a", 4)];
    let head = append_all(store, &id, &deltas).await;
    let covered = Position { seq: Seq(4), ..head };
    assert!(save(store, &id, &snapshot(covered, b"four")).await);
    let clock_before = store.vector_clock(&id).await.expect("vector_clock");
    for (up_to, removed, left) in [
        (clock(&[]), 0, &[1, 2, 3, 4, 5][..]),
        (clock(&[("a", 2), ("b", 1)]), 2, &[3, 4, 5]),
        (clock(&[("a", 2), ("b", 1)]), 0, &[3, 4, 5]),
        (clock(&[("a", 9), ("b", 1)]), 1, &[3, 5]),
        (clock(&[("a", 9), ("b", 9)]), 1, &[5]),
    ] {
        assert_eq!(store.compact(&id, &up_to, None).await.expect("compact"), removed, "{up_to:?}");
        assert_eq!(seqs(&all_since(store, &id, None).await), left, "{up_to:?}");
    }
    assert_eq!(store.vector_clock(&id).await.expect("vector_clock"), clock_before);
    assert_eq!(history(store, &id, covered).await.len(), 1);
}

/// With a time, what was stored since then stays.
pub async fn s6_compaction_keeps_what_is_younger(store: &dyn DocumentStore) {
    let id = document("s6-younger");
    let head = write(store, &id, 3).await;
    assert!(save(store, &id, &snapshot(head, b"three")).await);
    let everything = clock(&[("x", 9)]);
    let hour = Duration::from_secs(3_600);
    let [before, after] = [SystemTime::now() - hour, SystemTime::now() + hour];
    let compact = async |time| store.compact(&id, &everything, Some(time)).await.expect("compact");
    assert_eq!(compact(before).await, 0);
    assert_eq!(seqs(&all_since(store, &id, None).await), [1, 2, 3]);
    assert_eq!(compact(after).await, 3);
}

/// A claim is its holder's until its time is over. Stores that one process has for itself refuse
/// nobody.
pub async fn a_claimed_compaction_stays_with_its_holder(store: &dyn DocumentStore) {
    let id = document("claimed");
    let claim = async |holder, seconds| {
        let time = Duration::from_secs(seconds);
        store.claim_compaction(&id, holder, time).await.expect("claim_compaction")
    };
    assert!(claim("one", 3_600).await);
    assert!(claim("one", 3_600).await, "its own claim is no obstacle");
    let shared = store.durability() == Durability::Server;
    assert_eq!(claim("two", 3_600).await, !shared);
    assert!(claim("one", 0).await);
    assert!(claim("two", 3_600).await, "the time of the first is over");
}

/// Without a snapshot the deltas are all there is.
pub async fn s6_compaction_without_a_snapshot_removes_nothing(store: &dyn DocumentStore) {
    let id = document("s6-bare");
    let head = write(store, &id, 2).await;
    assert_eq!(store.compact(&id, &clock(&[("x", 9)]), None).await.expect("compact"), 0);
    assert_eq!(history(store, &id, start_of(head.epoch)).await.len(), 2);
}

/// However long the history: the whole of it in one call.
pub async fn s6_long_histories_are_compacted(store: &dyn DocumentStore) {
    let id = document("s6-long");
    let head = write(store, &id, 25_000).await;
    assert!(save(store, &id, &snapshot(head, b"all")).await);
    assert_eq!(store.compact(&id, &clock(&[("x", 24_999)]), None).await.expect("compact"), 24_999);
    assert_eq!(seqs(&all_since(store, &id, None).await), [25_000]);
}
