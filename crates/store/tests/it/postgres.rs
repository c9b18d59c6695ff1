use synckit_engine::clock::VectorClock;
use synckit_engine::delta::{Delta, DeltaId};
use synckit_engine::ids::{ClientId, DocumentId};
use synckit_engine::position::Seq;
use synckit_store::postgres::{PostgresOptions, PostgresProvider};
use synckit_store::{Append, DocumentStore, Durability, StorageProvider, StoreError};
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
    for (pool_min, pool_max) in [(0, 0), (3, 2)] {
        let options = PostgresOptions { pool_min, pool_max, ..options(&database) };
        assert!(!PostgresProvider::new(&options).unwrap_err().is_transient());
    }
    let options = PostgresOptions { pool_min: 2, pool_max: 2, ..options(&database) };
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
        assert!(matches!(&error, StoreError::Damaged { document, .. } if document == &id()));
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn deltas_beyond_the_head_of_their_document_are_not_overwritten() {
    let (database, provider) = one_document().await;
    database.execute("UPDATE documents SET head_seq = 0").await;
    let error = provider.documents().append(&edit(2)).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    database.execute("DELETE FROM documents").await;
    let error = provider.documents().append(&edit(2)).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
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

fn id() -> DocumentId {
    DocumentId::new("doc").expect("a document id")
}

fn edit(counter: u64) -> Vec<Append> {
    let client = ClientId::new("client").expect("a client id");
    let delta = Delta {
        id: DeltaId::new(&format!("delta-{counter}")),
        clock: VectorClock::dot(&client, counter),
        client,
        timestamp: 1,
        changes: Vec::new().into(),
    };
    vec![Append { document: id(), deltas: vec![delta] }]
}

async fn one_document() -> (Database, PostgresProvider) {
    let database = Postgres::shared().await.create_database().await;
    let provider = provider(&database);
    provider.initialize().await.expect("initialize");
    provider.documents().append(&edit(1)).await.expect("append");
    (database, provider)
}
