//! Merging: deltas in any order give the same document.

use super::*;

#[test]
fn deltas_in_any_order_and_however_often_give_the_same_fields() {
    let shuffled = deltas().prop_flat_map(|deltas| {
        let repeats = vec(any::<Index>(), 0..6);
        (Just(deltas.clone()), Just(deltas).prop_shuffle(), repeats)
    });
    holds(
        "deltas_in_any_order_and_however_often_give_the_same_fields",
        &shuffled,
        |(deltas, mut shuffled, repeats)| {
            for at in repeats.into_iter().filter(|_| !deltas.is_empty()) {
                shuffled.push(at.get(&deltas).clone());
            }
            let [one, other] = [document_of(&deltas), document_of(&shuffled)];
            prop_assert!(one.fields().eq(other.fields()), "{one:?}\n{other:?}");
            prop_assert_eq!(one.clock(), other.clock());
            Ok(())
        },
    );
}

#[test]
fn a_field_holds_the_greatest_of_its_writes() {
    holds("a_field_holds_the_greatest_of_its_writes", &deltas(), |deltas| {
        let document = document_of(&deltas);
        for (name, field) in document.fields() {
            let writes = deltas
                .iter()
                .filter(|delta| delta.changes.fields().iter().any(|(to, _)| to == name));
            let newest = writes.max_by_key(|delta| delta.key()).unwrap();
            prop_assert_eq!(&field.key, &newest.key());
            let change = newest.changes.fields().iter().find(|(to, _)| to == name);
            prop_assert_eq!(Some(&field.value), change.map(|(_, change)| change));
        }
        Ok(())
    });
}

#[test]
fn the_document_stamp_passes_every_count_and_every_lost_one_by_one_more() {
    let writes = vec((field_names(), clients(), 0_u64..4, 0_u64..50), 0..20);
    holds(
        "the_document_stamp_passes_every_count_and_every_lost_one_by_one_more",
        &writes,
        |writes| {
            let mut document = Document::new();
            for (field, client, timestamp, number) in writes {
                let before = document.stamp();
                let key = WriteKey { timestamp, number: EditNumber(number), client };
                let outcome = document.apply_change(&field, &Change::Delete, &key);
                prop_assert!(document.stamp() > before);
                prop_assert!(document.stamp() >= number + u64::from(outcome != Outcome::Won));
            }
            Ok(())
        },
    );
}
