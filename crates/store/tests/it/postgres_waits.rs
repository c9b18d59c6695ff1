//! What an append finds when another transaction, which it has waited for, is over.

use synckit_engine::clock::{EditNumber, VectorClock};
use synckit_engine::delta::Delta;
use synckit_engine::ids::ClientId;
use synckit_engine::position::{Epoch, Position, Seq};
use synckit_store::{Append, Delivery, DeltaPage, DocumentStore, NumberedDelta, StorageProvider};
use synckit_testkit::{Database, PgBouncer, Postgres};

use crate::sqlite::{delta, document};

const DOCUMENTS: [&str; 3] = ["a", "b", "c"];

/// The document whose row the other transaction holds; those around it are there to be had.
const HELD: &str = "b";

const DELETE: &str =
    "DELETE FROM deltas WHERE document_id = 'b'; DELETE FROM documents WHERE id = 'b'";

/// What another server could have stored meanwhile: this delta, under this number.
fn insert_delta(seq: u64, id: &str) -> String {
    format!(
        "INSERT INTO deltas (document_id, seq, id, client_id, data, vector_clock, timestamp) \
        VALUES ('b', {seq}, '{id}', 'other', '{{}}', '{{\"other\": 7}}', 1)"
    )
}

/// `name`'s edit with this number.
fn edit(name: &str, number: u64) -> Delta {
    delta(name, number, "text")
}

fn clock(entries: &[(&str, u64)]) -> VectorClock {
    let client = |name| ClientId::new(name).expect("a client id");
    entries.iter().map(|(name, counter)| (client(*name), EditNumber(*counter))).collect()
}

/// The same edits to all documents, which have one edit of "x" when it comes to them.
struct Case {
    name: &'static str,
    /// What the other transaction does.
    other: String,
    edits: Vec<Delta>,
    /// What becomes of the edits of the document that was held.
    deliveries: Vec<Delivery>,
    clock: VectorClock,
    is_new_life: bool,
}

fn cases() -> Vec<Case> {
    use Delivery::{Repeated, Stored};
    let move_on = |delta: &str| {
        format!(
            "UPDATE documents SET head_seq = 2, vector_clock = '{{\"x\": 5, \"other\": 7}}' \
            WHERE id = 'b'; {}",
            insert_delta(2, delta)
        )
    };
    vec![
        Case {
            name: "the newest head and clock, for one client",
            other: move_on("other-7"),
            edits: vec![edit("x", 2), edit("x", 3)],
            deliveries: vec![Stored(Seq(3)), Stored(Seq(4))],
            clock: clock(&[("x", 5), ("other", 7)]),
            is_new_life: false,
        },
        Case {
            name: "the newest head and clock, for several",
            other: move_on("other-7"),
            edits: vec![edit("x", 6), edit("y", 1)],
            deliveries: vec![Stored(Seq(3)), Stored(Seq(4))],
            clock: clock(&[("x", 6), ("other", 7), ("y", 1)]),
            is_new_life: false,
        },
        Case {
            name: "one of its own edits, stored by a first try",
            other: move_on("y-1"),
            edits: vec![edit("y", 1), edit("y", 2)],
            deliveries: vec![Repeated(Seq(2)), Stored(Seq(3))],
            clock: clock(&[("x", 5), ("other", 7), ("y", 2)]),
            is_new_life: false,
        },
        Case {
            name: "nothing",
            other: DELETE.to_owned(),
            edits: vec![edit("x", 1), edit("y", 1)],
            deliveries: vec![Stored(Seq(1)), Stored(Seq(2))],
            clock: clock(&[("x", 1), ("y", 1)]),
            is_new_life: true,
        },
        Case {
            name: "another life of the document",
            other: format!(
                "{DELETE}; INSERT INTO documents (id, head_seq, vector_clock) \
                VALUES ('b', 1, '{{\"other\": 7}}'); {}",
                insert_delta(1, "other-7")
            ),
            edits: vec![edit("x", 1), edit("y", 1)],
            deliveries: vec![Stored(Seq(2)), Stored(Seq(3))],
            clock: clock(&[("other", 7), ("x", 1), ("y", 1)]),
            is_new_life: true,
        },
    ]
}

/// The answer to a call that begins while `other` has been done and not been committed.
async fn call_behind<T>(database: &Database, other: &str, call: impl Future<Output = T>) -> T {
    let (client, connection) =
        tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.expect("connect");
    let both = async {
        client.batch_execute(&format!("BEGIN; {other}")).await.expect("the other transaction");
        let commit = async {
            let waiting = "SELECT 1 FROM pg_stat_activity \
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
            while database.rows(waiting).await.is_empty() {}
            client.batch_execute("COMMIT").await.expect("commit");
        };
        tokio::join!(call, commit).0
    };
    tokio::select! {
        answer = both => answer,
        _ = connection => panic!("the connection ended"),
    }
}

async fn history(store: &dyn DocumentStore, name: &str, epoch: Epoch) -> Vec<NumberedDelta> {
    let start = Position { epoch, seq: Seq(0) };
    match store.deltas_after(&document(name), start).await.expect("deltas_after") {
        DeltaPage::Deltas(page) => page,
        other => panic!("the history of {name}: {other:?}"),
    }
}

async fn check(database: &Database, provider: &impl StorageProvider) {
    provider.initialize().await.expect("initialize");
    let store = provider.documents();
    for Case { name, other, edits, deliveries, clock, is_new_life } in cases() {
        let batch = |deltas: &[Delta]| -> Vec<Append> {
            let append = |name| Append { document: document(name), deltas: deltas.to_vec() };
            DOCUMENTS.map(append).into()
        };
        for name in DOCUMENTS {
            store.delete(&document(name)).await.expect("delete");
        }
        let first = store.append(&batch(&[edit("x", 1)])).await.expect("append");
        let again = batch(&edits);
        let appended = call_behind(database, &other, store.append(&again)).await.expect("append");
        for ((id, first), appended) in DOCUMENTS.iter().zip(first).zip(appended) {
            let record = store.get(&document(id)).await.expect("get").expect("a record");
            assert_eq!(record.head.epoch, appended.epoch, "{name}: {id}");
            let numbers = history(store, id, appended.epoch).await;
            let numbers = numbers.into_iter().map(|numbered| numbered.seq.0);
            assert!(numbers.eq(1..=record.head.seq.0), "{name}: {id} has no gaps");
            if *id == HELD {
                assert_eq!(appended.deliveries, deliveries, "{name}");
                assert_eq!(
                    store.vector_clock(&document(id)).await.expect("vector_clock"),
                    clock,
                    "{name}"
                );
                assert_eq!(appended.epoch != first.epoch, is_new_life, "{name}");
            } else {
                assert_eq!(appended.epoch, first.epoch, "{name}: {id}");
            }
        }
    }
}

#[tokio::test]
async fn an_append_that_has_waited_goes_on_from_what_it_finds() {
    let database = Postgres::shared().await.create_database().await;
    check(&database, &crate::postgres::provider(&database)).await;
}

#[tokio::test]
async fn a_delete_that_has_waited_for_another_leaves_the_next_life_alone() {
    let database = Postgres::shared().await.create_database().await;
    let provider = crate::postgres::provider(&database);
    provider.initialize().await.unwrap();
    let (store, held) = (provider.documents(), document(HELD));
    let first = Append { document: held.clone(), deltas: vec![edit("x", 1)] };
    store.append(&[first]).await.unwrap();
    let other = format!(
        "{DELETE}; INSERT INTO documents (id, head_seq) VALUES ('b', 1); {}",
        insert_delta(1, "other-7")
    );
    assert!(!call_behind(&database, &other, store.delete(&held)).await.unwrap());
    let head = store.get(&held).await.unwrap().unwrap().head;
    assert_eq!(history(store, HELD, head.epoch).await.len(), 1);
    assert!(store.delete(&held).await.unwrap());
    let left = database.rows("SELECT count(*) FROM deltas").await;
    assert_eq!(left, [["0"]]);
}

/// How two tables are joined is chosen by their sizes.
#[tokio::test]
async fn so_does_one_with_another_plan() {
    for others in [["nestloop", "mergejoin"], ["nestloop", "hashjoin"], ["hashjoin", "mergejoin"]] {
        let database = Postgres::shared().await.create_database().await;
        for other in others {
            let name = database.name();
            database.execute(&format!("ALTER DATABASE {name} SET enable_{other} = off")).await;
        }
        check(&database, &crate::postgres::provider(&database)).await;
    }
}

#[tokio::test]
async fn so_does_one_behind_a_pooler() {
    let postgres = Postgres::shared().await;
    let database = postgres.create_database().await;
    let bouncer = PgBouncer::start(postgres).await;
    check(&database, &crate::pgbouncer::provider(&database, &bouncer)).await;
}
