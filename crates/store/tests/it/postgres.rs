use synckit_engine::clock::{EditNumber, VectorClock};
use synckit_engine::ids::{ClientId, DocumentId};
use synckit_engine::position::{Position, Seq};
use synckit_store::postgres::{PostgresOptions, PostgresProvider};
use synckit_store::{
    Append, DocumentStore, Durability, StorageProvider, StoreError, StoredSnapshot,
};
use synckit_testkit::{Database, Postgres};

/// Two providers over one database, as two processes have them.
pub(crate) struct Opened {
    first: PostgresProvider,
    second: PostgresProvider,
    /// Dropped last, with the connections gone.
    _database: Database,
}

impl Opened {
    fn store(&self) -> &dyn DocumentStore {
        self.first.documents()
    }

    fn other(&self) -> &dyn DocumentStore {
        self.second.documents()
    }
}

pub(crate) fn options(database: &Database) -> PostgresOptions {
    PostgresOptions::new(database.url().parse().expect("a URL"))
}

pub(crate) fn provider(database: &Database) -> PostgresProvider {
    PostgresProvider::new(&options(database)).expect("valid options")
}

async fn open() -> Opened {
    let database = Postgres::shared().await.create_database().await;
    let (first, second) = (provider(&database), provider(&database));
    first.initialize().await.expect("initialize");
    Opened { first, second, _database: database }
}

synckit_store::conformance_tests!(open);

#[tokio::test]
async fn the_provider_says_what_it_is() {
    let opened = open().await;
    assert_eq!(opened.first.name(), "postgresql");
    assert_eq!(opened.store().durability(), Durability::Server);
    assert!(opened.first.check_health().await.unwrap().latency.as_nanos() > 0);
}

#[tokio::test]
async fn a_pool_has_connections() {
    let database = Postgres::shared().await.create_database().await;
    for (pool_min, pool_max, writers) in [(0, 0, 0), (3, 2, 1), (0, 2, 0), (0, 2, 2), (0, 1, 1)] {
        let options = PostgresOptions { pool_min, pool_max, writers, ..options(&database) };
        assert!(PostgresProvider::new(&options).unwrap_err().is_configuration());
    }
    let options = PostgresOptions { pool_min: 2, pool_max: 2, writers: 1, ..options(&database) };
    PostgresProvider::new(&options).unwrap().initialize().await.unwrap();
}

#[tokio::test]
async fn stored_data_that_makes_no_sense_is_damage_and_says_where() {
    for (statement, expected) in [
        ("UPDATE deltas SET data = '[]'", "data of delta 1"),
        ("UPDATE deltas SET client_id = ''", "client of delta 1"),
        ("UPDATE deltas SET vector_clock = '{\"x\": -1}'", "vector clock"),
    ] {
        let (database, provider) = one_document().await;
        database.execute(statement).await;
        let error = provider.documents().deltas_since(&id(), None, Seq(0)).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::DocumentDamaged { document, .. } if document == &id())
        );
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn deltas_beyond_the_head_of_their_document_are_not_overwritten() {
    let (database, provider) = one_document().await;
    database.execute("UPDATE documents SET head_seq = 0").await;
    let error = provider.documents().append(&edit(2)).await.unwrap_err();
    assert!(matches!(&error, StoreError::DocumentDamaged { document, .. } if document == &id()));
}

#[tokio::test]
async fn a_document_whose_row_was_deleted_by_hand_can_live_again() {
    let (database, provider) = one_document().await;
    let before = provider.documents().get(&id()).await.unwrap().unwrap().head;
    database.execute("DELETE FROM documents").await;
    let appended = provider.documents().append(&edit(2)).await.unwrap();
    let after = provider.documents().get(&id()).await.unwrap().unwrap().head;
    assert_ne!(after.epoch, before.epoch);
    assert_eq!((appended[0].epoch, after.seq), (after.epoch, Seq(1)));
    let rows = database.rows("SELECT count(*) FROM deltas").await.concat();
    assert_eq!(rows, ["1"], "nothing of the life before");
}

#[tokio::test]
async fn the_isolation_of_the_database_does_not_matter() {
    let database = Postgres::shared().await.create_database().await;
    let level = "SET default_transaction_isolation = 'serializable'";
    database.execute(&format!("ALTER DATABASE {} {level}", database.name())).await;
    let (first, second) = (provider(&database), provider(&database));
    first.initialize().await.unwrap();
    let (first, second) = (first.documents(), second.documents());
    synckit_store::conformance::s4_concurrent_writers_lose_nothing(first, second).await;
}

#[tokio::test]
async fn an_operator_reads_the_whole_clock_whatever_snapshots_and_compaction_did() {
    let (database, provider) = one_document().await;
    let store = provider.documents();
    let clocks = async || {
        let sql =
            "SELECT clock.vector_clock ->> 'client', documents.vector_clock ->> 'client', clock_seq
            FROM document_clocks AS clock JOIN documents ON id = document_id";
        database.rows(sql).await.concat()
    };
    for counter in 2..=4 {
        store.append(&edit(counter)).await.unwrap();
    }
    let head = store.get(&id()).await.unwrap().unwrap().head;
    let everything = VectorClock::dot(&ClientId::new("client").unwrap(), EditNumber(9));
    assert_eq!(store.vector_clock(&id()).await.unwrap().iter().next().unwrap().1, EditNumber(4));

    let position = Position { seq: Seq(3), ..head };
    let clock = VectorClock::dot(&ClientId::new("client").unwrap(), EditNumber(3));
    let snapshot = StoredSnapshot { bytes: vec![1], clock, position };
    assert!(store.save_snapshot(&id(), &snapshot).await.unwrap());
    assert_eq!(clocks().await, ["4", "3", "3"]);
    assert_eq!(store.compact(&id(), &everything, None).await.unwrap(), 3);
    assert_eq!(clocks().await, ["4", "3", "3"]);
    store.append(&edit(5)).await.unwrap();
    assert_eq!(clocks().await, ["5", "3", "3"]);
}

#[tokio::test]
async fn what_the_stored_clock_does_not_cover_is_not_compacted() {
    let (database, provider) = one_document().await;
    let store = provider.documents();
    store.append(&edit(2)).await.unwrap();
    // As a program leaves it that knows nothing of `clock_seq`.
    database
        .execute("UPDATE documents SET snapshot = '', snapshot_clock = '{}', snapshot_seq = 2")
        .await;
    let everything = VectorClock::dot(&ClientId::new("client").unwrap(), EditNumber(9));
    assert_eq!(store.compact(&id(), &everything, None).await.unwrap(), 0);
    let position = store.get(&id()).await.unwrap().unwrap().head;
    let clock = VectorClock::dot(&ClientId::new("client").unwrap(), EditNumber(2));
    let snapshot = StoredSnapshot { bytes: vec![1], clock, position };
    assert!(store.save_snapshot(&id(), &snapshot).await.unwrap());
    assert_eq!(store.compact(&id(), &everything, None).await.unwrap(), 2);
}

#[tokio::test]
async fn a_snapshot_does_not_take_the_clock_back() {
    let (database, provider) = one_document().await;
    let store = provider.documents();
    store.append(&edit(2)).await.unwrap();
    // As it is when an operator has thrown a damaged snapshot away.
    let whole = "UPDATE documents SET vector_clock = '{\"client\": 2}', clock_seq = head_seq";
    database.execute(whole).await;
    let head = store.get(&id()).await.unwrap().unwrap().head;
    let client = ClientId::new("client").unwrap();
    for counter in 1..=2 {
        let position = Position { seq: Seq(counter), ..head };
        let clock = VectorClock::dot(&client, EditNumber(counter));
        let snapshot = StoredSnapshot { bytes: vec![1], clock, position };
        assert!(store.save_snapshot(&id(), &snapshot).await.unwrap());
        let clock = store.vector_clock(&id()).await.unwrap();
        assert_eq!(clock, VectorClock::dot(&client, EditNumber(2)), "at {counter}");
    }
}

fn id() -> DocumentId {
    DocumentId::new("doc").expect("a document id")
}

fn edit(counter: u64) -> Vec<Append> {
    crate::outages::edit("doc", counter)
}

async fn one_document() -> (Database, PostgresProvider) {
    let database = Postgres::shared().await.create_database().await;
    let provider = provider(&database);
    provider.initialize().await.expect("initialize");
    provider.documents().append(&edit(1)).await.expect("append");
    (database, provider)
}
