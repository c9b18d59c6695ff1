//! Several writers at once, in two stores over the same documents as two processes have them.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::*;
use crate::contract::StoredSnapshot;

const WRITERS: u64 = 8;
const BATCHES: u64 = 10;

/// The two stores in turn.
fn one_of<'a>(
    number: u64,
    store: &'a dyn DocumentStore,
    other: &'a dyn DocumentStore,
) -> &'a dyn DocumentStore {
    if number.is_multiple_of(2) { store } else { other }
}

/// As a caller does it: again, as long as the store says that this may help.
async fn append_until_stored(store: &dyn DocumentStore, batch: &[Append]) -> Vec<Appended> {
    for _ in 0..100 {
        match store.append(batch).await {
            Ok(appended) => return appended,
            Err(error) if error.is_unavailable() => {}
            Err(error) => panic!("append: {error}"),
        }
    }
    panic!("append failed a hundred times")
}

/// Out of many that append the same delta, one stores it and all learn the same number.
pub async fn s3_the_same_delta_at_the_same_time_is_stored_once(
    store: &dyn DocumentStore,
    other: &dyn DocumentStore,
) {
    let id = document("s3-at-once");
    append(store, &id, &[delta("first", 1)]).await;
    for round in 1..=BATCHES {
        let batch = [part(&id, &[delta("same", round), delta("also", round)])];
        let writers = (0..WRITERS).map(|writer| {
            let store = one_of(writer, store, other);
            append_until_stored(store, &batch)
        });
        let answers = join_all(writers).await;
        let deliveries = answers.iter().flatten().flat_map(|answer| answer.deliveries.clone());
        let deliveries: Vec<Delivery> = deliveries.collect();
        let is_stored = |delivery: &&Delivery| matches!(delivery, Delivery::Stored(_));
        assert_eq!(deliveries.iter().filter(is_stored).count(), 2, "{deliveries:?}");
        let numbers = deliveries.iter().map(|delivery| match delivery {
            Delivery::Stored(seq) | Delivery::Repeated(seq) => seq.0,
        });
        let numbers: BTreeSet<u64> = numbers.collect();
        assert_eq!(numbers, BTreeSet::from([2 * round, 2 * round + 1]));
    }
}

/// Each writer's deltas stand in its own order, all numbers are there, the clock has all counters.
pub async fn s4_concurrent_writers_lose_nothing(
    store: &dyn DocumentStore,
    other: &dyn DocumentStore,
) {
    let id = document("s4-at-once");
    let writers = (0..WRITERS).map(|writer| {
        let (store, id, name) = (one_of(writer, store, other), &id, format!("writer-{writer}"));
        async move {
            let mut numbers = Vec::new();
            for batch in 0..BATCHES {
                let deltas = [delta(&name, 2 * batch + 1), delta(&name, 2 * batch + 2)];
                let answers = append_until_stored(store, &[part(id, &deltas)]).await;
                for delivery in &answers[0].deliveries {
                    match delivery {
                        Delivery::Stored(seq) | Delivery::Repeated(seq) => numbers.push(seq.0),
                    }
                }
            }
            assert!(numbers.is_sorted_by(|a, b| a < b), "{name}: {numbers:?}");
            numbers
        }
    });
    let numbers: BTreeSet<u64> = join_all(writers).await.into_iter().flatten().collect();
    let count = WRITERS * BATCHES * 2;
    assert!(numbers.into_iter().eq(1..=count), "every number is given once");

    let record = store.get(&id).await.expect("get").expect("a record");
    assert_eq!(record.head.seq, Seq(count));
    let whole: VectorClock = (0..WRITERS)
        .map(|writer| (client(&format!("writer-{writer}")), EditNumber(2 * BATCHES)))
        .collect();
    assert_eq!(store.vector_clock(&id).await.expect("vector_clock"), whole);
    let history = history(store, &id, start_of(record.head.epoch)).await;
    for writer in 0..WRITERS {
        let name = format!("writer-{writer}");
        let own = history.iter().filter(|numbered| numbered.delta.client.as_str() == name);
        assert!(own.map(|numbered| numbered.delta.number.0).eq(1..=2 * BATCHES), "{name}");
    }
}

/// Batches over the same documents in opposite order do not deadlock.
pub async fn s4_crossing_batches_do_not_block_each_other(
    store: &dyn DocumentStore,
    other: &dyn DocumentStore,
) {
    let ids: Vec<_> = (0..20).map(|number| document(&format!("s4-cross-{number}"))).collect();
    let writers = (0..WRITERS).map(|writer| {
        let (store, ids, name) = (one_of(writer, store, other), &ids, format!("writer-{writer}"));
        async move {
            for counter in 1..=BATCHES {
                let mut batch: Vec<_> =
                    ids.iter().map(|id| part(id, &[delta(&name, counter)])).collect();
                if writer % 4 < 2 {
                    batch.reverse();
                }
                store.append(&batch).await.expect("append");
            }
        }
    });
    join_all(writers).await;
    for head in store.heads(&ids).await.expect("heads") {
        assert_eq!(head.map(|head| head.seq), Some(Seq(WRITERS * BATCHES)));
    }
}

/// Who comes first makes the document, the others write into the same.
pub async fn s10_concurrent_first_writes_make_one_document(
    store: &dyn DocumentStore,
    other: &dyn DocumentStore,
) {
    for round in 0..BATCHES {
        let id = document(&format!("s10-at-once-{round}"));
        let writers = (0..WRITERS).map(|writer| {
            let (store, id) = (one_of(writer, store, other), &id);
            async move {
                if writer % 4 == 3 {
                    return store.get_or_create(id).await.expect("get_or_create").head.epoch;
                }
                let deltas = [delta(&format!("writer-{writer}"), 1), delta("same", 1)];
                append_until_stored(store, &[part(id, &deltas)]).await[0].epoch
            }
        });
        let epochs: BTreeSet<Epoch> = join_all(writers).await.into_iter().collect();
        assert_eq!(epochs.len(), 1, "one life, not {epochs:?}");
        let epoch = epochs.first().copied().expect("one epoch");
        assert_eq!(history(store, &id, start_of(epoch)).await.len(), 7);
    }
}

/// However writes, deletes, snapshots and compactions meet: what is there has no gaps.
pub async fn s8_deletes_and_writes_at_once_leave_whole_documents(
    store: &dyn DocumentStore,
    other: &dyn DocumentStore,
) {
    let id = document("s8-at-once");
    let writers = (0..WRITERS).map(|writer| {
        let (store, id, name) = (one_of(writer, store, other), &id, format!("writer-{writer}"));
        async move {
            for counter in 1..=BATCHES {
                append_until_stored(store, &[part(id, &[delta(&name, counter)])]).await;
                // Of both stores, so that deletes meet each other too.
                if writer < 2 {
                    store.delete(id).await.expect("delete");
                }
            }
        }
    });
    join_all(writers).await;
    let head = append_all(store, &id, &[delta("last", 1)]).await;
    assert_eq!(history(store, &id, start_of(head.epoch)).await.len() as u64, head.seq.0);
    let whole = store.vector_clock(&id).await.expect("vector_clock");
    let saved = StoredSnapshot { bytes: vec![], clock: whole.clone(), position: head };
    assert!(store.save_snapshot(&id, &saved).await.expect("save_snapshot"));
    assert_eq!(store.compact(&id, &whole, None).await.expect("compact"), head.seq.0);
}

/// Every document that was there before the first page is listed once, whatever is made meanwhile.
pub async fn listings_are_not_disturbed_by_new_documents(
    store: &dyn DocumentStore,
    other: &dyn DocumentStore,
) {
    let old: BTreeSet<_> = (0..50).map(|number| document(&format!("old-{number:02}"))).collect();
    for id in &old {
        store.get_or_create(id).await.expect("get_or_create");
    }
    let making = async {
        for number in 0..50 {
            for name in [format!("old-{number:02}-between"), format!("a-before-{number}")] {
                other.get_or_create(&document(&name)).await.expect("get_or_create");
            }
        }
    };
    let listing = async {
        let mut listed: Vec<DocumentId> = Vec::new();
        loop {
            let page = store.document_ids(7, listed.last()).await.expect("document_ids");
            if page.is_empty() {
                return listed;
            }
            listed.extend(page);
        }
    };
    let ((), listed) = tokio::join!(making, listing);
    assert!(listed.is_sorted_by(|a, b| a < b), "no id twice: {listed:?}");
    let listed: BTreeSet<_> = listed.into_iter().collect();
    assert!(old.is_subset(&listed));
}
