//! S1, S3 and S4 for one writer.

use super::*;
use crate::error::StoreError;

/// A batch of documents that are there and documents that aren't is answered in its order.
pub async fn s1_a_batch_carries_many_documents(store: &dyn DocumentStore) {
    let ids = ["s1-c", "s1-a", "s1-d", "s1-b"].map(document);
    let old = append(store, &ids[1], &[delta("x", 1)]).await;
    append(store, &ids[2], &[delta("x", 1), delta("x", 2)]).await;
    let batch = ids.each_ref().map(|id| part(id, &[delta("y", 1), delta("y", 2)]));
    let answers = store.append(&batch).await.expect("append");
    let deliveries: Vec<_> = answers.iter().map(|answer| answer.deliveries.clone()).collect();
    assert_eq!(deliveries, [stored(&[1, 2]), stored(&[2, 3]), stored(&[3, 4]), stored(&[1, 2])]);
    assert_eq!(answers[1].epoch, old.epoch);
    for (id, answer) in ids.iter().zip(&answers) {
        let history = history(store, id, start_of(answer.epoch)).await;
        let newest: Vec<_> = history.iter().rev().take(2).map(|n| n.delta.clone()).collect();
        assert_eq!(newest, [delta("y", 2), delta("y", 1)], "{id}");
    }
}

/// A document is stored whole or not at all; what is refused leaves no trace of itself.
pub async fn s1_a_refused_batch_stores_nothing(store: &dyn DocumentStore) {
    let (old, new) = (document("s1-refused"), document("s1-refused-new"));
    let at = append_all(store, &old, &[delta("x", 1)]).await;
    for id in [&old, &new] {
        let twice = [part(id, &[delta("x", 2)]), part(id, &[delta("x", 3)])];
        let error = store.append(&twice).await.expect_err("a document twice in a batch");
        assert!(matches!(error, StoreError::Misuse(_)), "{error}");
    }
    assert_eq!(history(store, &old, start_of(at.epoch)).await.len(), 1);
    assert!(!store.exists(&new).await.expect("exists"));
}

/// Neither two parts for one document nor a part without deltas is taken.
pub async fn s1_a_document_stands_in_a_batch_once(store: &dyn DocumentStore) {
    let id = document("s1-once");
    for batch in
        [vec![part(&id, &[])], vec![part(&id, &[delta("x", 1)]), part(&id, &[delta("y", 1)])]]
    {
        let error = store.append(&batch).await.expect_err("refused");
        assert!(matches!(error, StoreError::Misuse(_)), "{error}");
    }
    assert!(!store.exists(&id).await.expect("exists"));
}

/// Nothing to append is no error.
pub async fn s1_an_empty_batch_is_answered_with_nothing(store: &dyn DocumentStore) {
    assert_eq!(store.append(&[]).await.expect("append"), []);
}

/// The second time changes nothing: not the numbers, not the data, not the clock.
pub async fn s3_a_repeat_is_answered_as_the_first_was(store: &dyn DocumentStore) {
    let id = document("s3-repeat");
    let deltas = [delta("x", 1), delta("x", 2)];
    let first = append(store, &id, &deltas).await;
    assert_eq!(first.deliveries, stored(&[1, 2]));
    let before = store.get(&id).await.expect("get");
    let second = append(store, &id, &deltas).await;
    assert_eq!((second.epoch, second.deliveries), (first.epoch, repeated(&[1, 2])));
    let changed = Delta { timestamp: 9, ..delta_with_data("x", 1, r#"{"other":true}"#) };
    assert_eq!(append(store, &id, &[changed]).await.deliveries, repeated(&[1]));
    assert_eq!(store.get(&id).await.expect("get"), before);
    let history = history(store, &id, start_of(first.epoch)).await;
    assert_eq!(history.iter().map(|n| n.delta.clone()).collect::<Vec<_>>(), deltas);
}

/// An id that stands in an append twice is stored once, in new documents and old ones.
pub async fn s3_repeats_within_one_batch_are_stored_once(store: &dyn DocumentStore) {
    let id = document("s3-within");
    let first = append(store, &id, &[delta("x", 1), delta("x", 1), delta("x", 2)]).await;
    let (s, r) = (|n| Delivery::Stored(Seq(n)), |n| Delivery::Repeated(Seq(n)));
    assert_eq!(first.deliveries, [s(1), r(1), s(2)]);
    let second = append(store, &id, &[delta("y", 1), delta("x", 2), delta("y", 1)]).await;
    assert_eq!(second.deliveries, [s(3), r(2), r(3)]);
    assert_eq!(history(store, &id, start_of(first.epoch)).await.len(), 3);
}

/// Two documents may hold deltas of the same id.
pub async fn s3_an_id_belongs_to_its_document(store: &dyn DocumentStore) {
    let ids = ["s3-one", "s3-two"].map(document);
    for id in &ids {
        assert_eq!(append(store, id, &[delta("x", 1)]).await.deliveries, stored(&[1]));
    }
}

/// One repeat in a batch does not keep the other deltas and documents from being stored.
pub async fn s3_repeats_and_new_deltas_mix(store: &dyn DocumentStore) {
    let ids = ["s3-mix-old", "s3-mix-all-old", "s3-mix-other", "s3-mix-new"].map(document);
    for id in &ids[..3] {
        append(store, id, &[delta("x", 1)]).await;
    }
    let batch = [
        part(&ids[0], &[delta("x", 2), delta("x", 1), delta("x", 3)]),
        part(&ids[1], &[delta("x", 1)]),
        part(&ids[2], &[delta("x", 2)]),
        part(&ids[3], &[delta("x", 1), delta("x", 2)]),
    ];
    let (s, r) = (|n| Delivery::Stored(Seq(n)), |n| Delivery::Repeated(Seq(n)));
    let answers = store.append(&batch).await.expect("append");
    let deliveries: Vec<_> = answers.iter().map(|answer| answer.deliveries.clone()).collect();
    assert_eq!(deliveries, [vec![s(2), r(1), s(3)], repeated(&[1]), stored(&[2]), stored(&[1, 2])]);
    let again = store.append(&batch).await.expect("append");
    let deliveries: Vec<_> = again.iter().map(|answer| answer.deliveries.clone()).collect();
    let all_repeated = [&[2, 1, 3][..], &[1], &[2], &[1, 2]].map(repeated);
    assert_eq!(deliveries, all_repeated);
    let heads = store.heads(&ids).await.expect("heads");
    let heads: Vec<_> = heads.iter().flatten().map(|head| head.seq.0).collect();
    assert_eq!(heads, [3, 1, 2, 2]);
}

/// Numbers go on from batch to batch.
pub async fn s4_numbers_have_no_gaps(store: &dyn DocumentStore) {
    let id = document("s4-gapless");
    let mut next = 1;
    for size in [1, 7, 256, 1] {
        let deltas: Vec<_> = (next..next + size).map(|counter| delta("x", counter)).collect();
        let numbers: Vec<_> = (next..next + size).collect();
        assert_eq!(append(store, &id, &deltas).await.deliveries, stored(&numbers));
        next += size;
    }
}

/// Of each client the greatest number counts, whatever the order in which they come.
pub async fn s4_a_document_clock_is_the_merge_of_all(store: &dyn DocumentStore) {
    let id = document("s4-clock");
    let unnumbered = |n| Delta { number: EditNumber(0), ..delta("none", n) };
    let quoted = "a \"quoted\\client\" é日";
    append(store, &id, &[delta("a", 5), delta("b", 1)]).await;
    append(store, &id, &[delta("a", 3), delta(quoted, 1 << 48), unnumbered(1)]).await;
    let earlier = Delta { id: DeltaId::new("again"), ..delta("b", 1) };
    append(store, &id, &[delta("b", 2), earlier, delta("c", 1)]).await;
    append(store, &id, &[unnumbered(2)]).await;
    let merged = clock(&[("a", 5), ("b", 2), ("c", 1), (quoted, 1 << 48)]);
    assert_eq!(store.vector_clock(&id).await.expect("vector_clock"), merged);
}
