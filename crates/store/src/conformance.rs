//! The contract as code: one function or more for each point, to be run against every back end,
//! bare or wrapped. They panic where a store breaks its promise.
//!
//! [`conformance_tests!`](crate::conformance_tests) makes a named test of each. The functions share
//! a store only if its documents are told apart: each uses ids of its own.

mod append;
mod concurrency;
mod history;
mod lifecycle;
mod model;
mod snapshots;

pub use append::*;
pub use concurrency::*;
pub use history::*;
pub use lifecycle::*;
pub use model::agrees_with_the_memory_store;
pub use snapshots::*;

use synckit_engine::clock::{EditNumber, VectorClock};
use synckit_engine::delta::{Delta, DeltaId};
use synckit_engine::ids::{ClientId, DocumentId};
use synckit_engine::position::{Epoch, Position, Seq};

use crate::contract::{Append, Appended, Delivery, DeltaPage, DocumentStore, NumberedDelta};

/// Makes one `#[tokio::test]` of every conformance function. The argument is an async function
/// without parameters; what it gives has two methods, `store()` and `other()`, two `&dyn
/// DocumentStore` over the same documents, as two processes would have them.
#[macro_export]
macro_rules! conformance_tests {
    ($open:path) => {
        $crate::conformance_tests! { @one $open,
            s1_a_batch_carries_many_documents
            s1_a_refused_batch_stores_nothing
            s1_a_document_stands_in_a_batch_once
            s1_an_empty_batch_is_answered_with_nothing
            s3_a_repeat_is_answered_as_the_first_was
            s3_repeats_within_one_batch_are_stored_once
            s3_an_id_belongs_to_its_document
            s3_repeats_and_new_deltas_mix
            s4_numbers_have_no_gaps
            s4_a_document_clock_is_the_merge_of_all
            s5_a_history_comes_in_pages
            s5_large_deltas_make_short_pages
            s5_deltas_since_a_clock_are_those_it_has_not_seen
            s5_a_compacted_part_is_pruned
            s5_a_position_beyond_the_head_is_of_another_history
            s5_data_is_kept_to_the_letter
            s6_a_snapshot_comes_back_byte_for_byte
            s6_a_snapshot_never_goes_back
            s6_a_snapshot_is_of_its_epoch_and_not_ahead
            s6_compaction_removes_what_is_seen_and_covered
            s6_compaction_keeps_what_is_younger
            a_claimed_compaction_stays_with_its_holder
            s6_compaction_without_a_snapshot_removes_nothing
            s6_long_histories_are_compacted
            s7_absence_is_not_an_error
            s8_delete_ends_the_epoch
            s10_the_first_write_creates
            s10_reading_does_not_create
            s10_get_or_create_makes_an_empty_document
            seed_checks_hold
            ids_of_every_length_are_kept
            ids_are_listed_in_byte_order
            heads_are_answered_in_order
            times_move_with_writes
            agrees_with_the_memory_store
        }
        $crate::conformance_tests! { @two $open,
            s3_the_same_delta_at_the_same_time_is_stored_once
            s4_concurrent_writers_lose_nothing
            s4_crossing_batches_do_not_block_each_other
            s10_concurrent_first_writes_make_one_document
            s8_deletes_and_writes_at_once_leave_whole_documents
            listings_are_not_disturbed_by_new_documents
        }
    };
    (@one $open:path, $($name:ident)*) => { $(
        #[tokio::test]
        async fn $name() {
            let opened = $open().await;
            $crate::conformance::$name(opened.store()).await;
        }
    )* };
    (@two $open:path, $($name:ident)*) => { $(
        #[tokio::test]
        async fn $name() {
            let opened = $open().await;
            $crate::conformance::$name(opened.store(), opened.other()).await;
        }
    )* };
}

fn document(name: &str) -> DocumentId {
    DocumentId::new(name).expect("a valid document id")
}

fn client(name: &str) -> ClientId {
    ClientId::new(name).expect("a valid client id")
}

fn clock(entries: &[(&str, u64)]) -> VectorClock {
    entries.iter().map(|(name, counter)| (client(name), EditNumber(*counter))).collect()
}

/// The `counter`-th edit of `name`, under an id made of both.
fn delta(name: &str, counter: u64) -> Delta {
    delta_with_data(name, counter, &format!(r#"{{"field":{counter}}}"#))
}

fn delta_with_data(name: &str, counter: u64, data: &str) -> Delta {
    Delta {
        id: DeltaId::new(&format!("{name}-{counter}")),
        client: client(name),
        number: EditNumber(counter),
        timestamp: 1_000 + counter,
        changes: Delta::parse_data(data).expect("valid data"),
    }
}

fn part(id: &DocumentId, deltas: &[Delta]) -> Append {
    Append { document: id.clone(), deltas: deltas.to_vec() }
}

async fn append(store: &dyn DocumentStore, id: &DocumentId, deltas: &[Delta]) -> Appended {
    let mut answers = store.append(&[part(id, deltas)]).await.expect("append");
    assert_eq!(answers.len(), 1, "one answer for one document");
    answers.remove(0)
}

/// Appends and gives the position after it.
async fn append_all(store: &dyn DocumentStore, id: &DocumentId, deltas: &[Delta]) -> Position {
    let appended = append(store, id, deltas).await;
    match appended.deliveries.last() {
        Some(Delivery::Stored(seq)) => Position { epoch: appended.epoch, seq: *seq },
        other => panic!("the last delta is new, not {other:?}"),
    }
}

fn start_of(epoch: Epoch) -> Position {
    Position { epoch, seq: Seq(0) }
}

/// The whole history after a position, page by page.
async fn history(
    store: &dyn DocumentStore,
    id: &DocumentId,
    mut after: Position,
) -> Vec<NumberedDelta> {
    let mut all = Vec::new();
    loop {
        match store.deltas_after(id, after).await.expect("deltas_after") {
            DeltaPage::Deltas(page) if page.is_empty() => return all,
            DeltaPage::Deltas(page) => {
                for numbered in page {
                    assert_eq!(numbered.seq, after.seq.next(), "numbers have no gaps");
                    after.seq = numbered.seq;
                    all.push(numbered);
                }
            }
            other => panic!("history of {id} after {after:?}: {other:?}"),
        }
    }
}

/// All that is stored and that `since` has not seen, page by page.
async fn all_since(
    store: &dyn DocumentStore,
    id: &DocumentId,
    since: Option<&VectorClock>,
) -> Vec<NumberedDelta> {
    let mut all: Vec<NumberedDelta> = Vec::new();
    loop {
        let after = all.last().map_or(Seq(0), |numbered| numbered.seq);
        let page = store.deltas_since(id, since, after).await.expect("deltas_since");
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

fn seqs(deltas: &[NumberedDelta]) -> Vec<u64> {
    deltas.iter().map(|numbered| numbered.seq.0).collect()
}

fn stored(numbers: &[u64]) -> Vec<Delivery> {
    numbers.iter().map(|number| Delivery::Stored(Seq(*number))).collect()
}

fn repeated(numbers: &[u64]) -> Vec<Delivery> {
    numbers.iter().map(|number| Delivery::Repeated(Seq(*number))).collect()
}
