//! S5: reading back.

use super::*;
use crate::contract::{PAGE_DELTAS_MAX, StoredSnapshot};

/// Pages are full, contiguous and end with an empty one.
pub async fn s5_a_history_comes_in_pages(store: &dyn DocumentStore) {
    let id = document("s5-pages");
    let count = 2 * PAGE_DELTAS_MAX as u64 + 5;
    let deltas: Vec<_> = (1..=count).map(|counter| delta("x", counter)).collect();
    let head = append_all(store, &id, &deltas).await;
    let first = store.deltas_after(&id, start_of(head.epoch)).await.expect("deltas_after");
    assert!(matches!(first, DeltaPage::Deltas(page) if page.len() == PAGE_DELTAS_MAX));
    let page = store.deltas_since(&id, None, Seq(0)).await.expect("deltas_since");
    assert_eq!(page.len(), PAGE_DELTAS_MAX);

    let everything = history(store, &id, start_of(head.epoch)).await;
    assert_eq!(everything.iter().map(|n| n.delta.clone()).collect::<Vec<_>>(), deltas);
    assert_eq!(all_since(store, &id, None).await, everything);
    let middle = Position { epoch: head.epoch, seq: Seq(count - 3) };
    assert_eq!(seqs(&history(store, &id, middle).await), [count - 2, count - 1, count]);
    assert_eq!(history(store, &id, head).await, []);
}

/// A page of large deltas may be shorter, but nothing is left out.
pub async fn s5_large_deltas_make_short_pages(store: &dyn DocumentStore) {
    let id = document("s5-large");
    let data = format!(r#"{{"field":"{}"}}"#, "x".repeat(1 << 20));
    let mut deltas: Vec<_> = (1..=12).map(|counter| delta_with_data("x", counter, &data)).collect();
    deltas.push(delta("x", 13));
    let head = append_all(store, &id, &deltas).await;
    let everything = history(store, &id, start_of(head.epoch)).await;
    assert_eq!(everything.iter().map(|n| n.delta.clone()).collect::<Vec<_>>(), deltas);
    assert_eq!(all_since(store, &id, None).await, everything);
}

/// What a clock has not seen, and what it has seen, entry by entry.
pub async fn s5_deltas_since_a_clock_are_those_it_has_not_seen(store: &dyn DocumentStore) {
    let id = document("s5-since");
    let unnumbered = Delta { number: EditNumber(0), ..delta("c", 9) };
    let deltas = [delta("a", 1), delta("b", 1), delta("a", 2), delta("b", 3), unnumbered];
    append(store, &id, &deltas).await;
    for (since, expected) in [
        (None, &[1, 2, 3, 4, 5][..]),
        (Some(clock(&[])), &[1, 2, 3, 4]),
        (Some(clock(&[("a", 1)])), &[2, 3, 4]),
        (Some(clock(&[("b", 9)])), &[1, 3]),
        (Some(clock(&[("a", 3), ("b", 2)])), &[4]),
        (Some(clock(&[("a", 3), ("b", 3)])), &[]),
        (Some(clock(&[("a", 9), ("b", 9), ("z", 1)])), &[]),
    ] {
        assert_eq!(seqs(&all_since(store, &id, since.as_ref()).await), expected, "{since:?}");
    }
    let later = store.deltas_since(&id, Some(&clock(&[("a", 1)])), Seq(2)).await;
    assert_eq!(seqs(&later.expect("deltas_since")), [3, 4]);
}

/// A reader is told of every gap, wherever it stands, and never given a page across one.
pub async fn s5_a_compacted_part_is_pruned(store: &dyn DocumentStore) {
    let id = document("s5-pruned");
    let deltas = [delta("a", 1), delta("b", 1), delta("a", 2), delta("b", 2), delta("a", 3)];
    let head = append_all(store, &id, &deltas).await;
    let at = |seq| Position { epoch: head.epoch, seq: Seq(seq) };
    let all = clock(&[("a", 3), ("b", 2)]);
    let snapshot = StoredSnapshot { bytes: vec![1], clock: all, position: at(4) };
    assert!(store.save_snapshot(&id, &snapshot).await.expect("save_snapshot"));
    assert_eq!(store.compact(&id, &clock(&[("a", 9)]), None).await.expect("compact"), 2);
    for (after, expected) in [
        (0, None),
        (1, Some(&[2][..])),
        (2, None),
        (3, Some(&[4, 5])),
        (4, Some(&[5])),
        (5, Some(&[])),
    ] {
        match (store.deltas_after(&id, at(after)).await.expect("deltas_after"), expected) {
            (DeltaPage::Pruned, None) => {}
            (DeltaPage::Deltas(page), Some(expected)) => assert_eq!(seqs(&page), expected),
            (page, _) => panic!("after {after}: {page:?}"),
        }
    }
    // With everything compacted away the reader still learns that there was something.
    let snapshot = StoredSnapshot { position: head, ..snapshot };
    assert!(store.save_snapshot(&id, &snapshot).await.expect("save_snapshot"));
    assert_eq!(store.compact(&id, &clock(&[("a", 9), ("b", 9)]), None).await.expect("compact"), 3);
    let page = store.deltas_after(&id, at(2)).await.expect("deltas_after");
    assert_eq!(page, DeltaPage::Pruned);
    assert_eq!(history(store, &id, head).await, []);
    assert_eq!(append_all(store, &id, &[delta("a", 4)]).await, at(6), "numbers go on");
}

/// A reader that is ahead of the store holds another history.
pub async fn s5_a_position_beyond_the_head_is_of_another_history(store: &dyn DocumentStore) {
    let id = document("s5-beyond");
    let head = append_all(store, &id, &[delta("x", 1)]).await;
    for after in [
        Position { seq: Seq(2), ..head },
        Position { seq: Seq(u64::MAX), ..head },
        Position { epoch: Epoch(head.epoch.0 + 1), ..head },
        Position { epoch: Epoch(u64::MAX), ..head },
    ] {
        let page = store.deltas_after(&id, after).await.expect("deltas_after");
        assert_eq!(page, DeltaPage::OtherEpoch, "{after:?}");
    }
}

/// Text is text: no number, key, surrogate or order is rewritten on the way.
pub async fn s5_data_is_kept_to_the_letter(store: &dyn DocumentStore) {
    let id = document("s5-exact");
    let data = [
        r#"{"a":"\u0000","b":"\ud800","c":"\ud83d\ude00","d":"é日","e":"\/"}"#,
        r#"{"a":1e400,"b":-0.0,"c":9223372036854775808,"d":1.10,"e":123456789012345678901234567890}"#,
        r#"{"z":{"b":1,"a":2,"b":3,"__proto__":null},"":[],"__proto__":{}," ":[ 1 , 2 ]}"#,
        r#"{"gone":{"__deleted":true},"not":{"__deleted":false},"nothing":null}"#,
        "{}",
        r#"["counter",-9007199254740991]"#,
        r#"["set","add",{"b":1e400,"a":"\ud800\u0000"}]"#,
        r#"["set","remove",null]"#,
        r#"["set","clear"]"#,
        r#"["richtext",{"type":"richtext","operation":"format","attributes":{"b":true}}]"#,
    ];
    let deltas: Vec<_> =
        (1..).zip(data).map(|(counter, data)| delta_with_data("x", counter, data)).collect();
    let head = append_all(store, &id, &deltas).await;
    let read = history(store, &id, start_of(head.epoch)).await;
    for ((text, sent), read) in data.iter().zip(&deltas).zip(&read) {
        assert_eq!(read.delta.data(), *text);
        assert_eq!(&read.delta, sent);
    }
    assert_eq!(all_since(store, &id, None).await, read);
}
