use synckit_engine::clock::EditNumber;
use synckit_engine::delta::{Changes, DeltaId};
use synckit_engine::ids::ClientId;
use synckit_engine::room::TicketId;
use tokio::sync::mpsc;

use super::*;

/// An edit of a document of its own.
fn ticket(number: u64, bytes: usize) -> Ticket {
    let value = format!("{:?}", "x".repeat(bytes));
    let value = synckit_engine::json::JsonText::parse(&value).unwrap();
    let delta = Delta {
        id: DeltaId::new(&format!("delta-{number}")),
        number: EditNumber(number),
        client: ClientId::new("client").unwrap(),
        timestamp: 1,
        changes: Changes::Format(value),
    };
    Ticket {
        document: DocumentId::new(&format!("doc-{number}")).unwrap(),
        deltas: vec![delta],
        since: Instant::now(),
        place: None,
        reply: Reply::new(TicketId(number), mpsc::channel(1).0),
    }
}

fn sizes(mut waiting: VecDeque<Ticket>, size: BatchSize) -> Vec<usize> {
    let mut sizes = Vec::new();
    while !waiting.is_empty() {
        sizes.push(Batch::take(&mut waiting, size).documents.len());
    }
    sizes
}

fn tickets(count: u64, bytes: usize) -> VecDeque<Ticket> {
    (0..count).map(|number| ticket(number, bytes)).collect()
}

#[test]
fn a_batch_closes_at_its_bytes_or_its_number_and_takes_one_edit_of_any_size() {
    let size = BatchSize::default();
    assert_eq!(sizes(tickets(10, 1 << 20), size), [3, 3, 3, 1]);
    assert_eq!(sizes(tickets(2, 5 << 20), size), [1, 1]);
    assert_eq!(sizes(tickets(1_000, 10), size), [512, 488]);
}

#[test]
fn a_batch_is_halved_down_to_one_edit_and_grows_again() {
    let mut size = BatchSize::default();
    size.halve();
    assert_eq!(sizes(tickets(4, 1 << 20), size), [1, 1, 1, 1]);
    assert_eq!(sizes(tickets(300, 10), size), [256, 44]);
    for _ in 0..20 {
        size.halve();
    }
    assert_eq!(sizes(tickets(3, 10), size), [1, 1, 1]);
    for _ in 0..20 {
        size.double();
    }
    assert_eq!(sizes(tickets(600, 10), size), [512, 88]);
}
