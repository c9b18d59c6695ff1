use synckit_store::postgres::{PostgresOptions, PostgresProvider};
use synckit_store::{DocumentStore, Durability, StorageProvider};
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
    PostgresOptions::new(database.url().parse().unwrap())
}

pub(crate) fn provider(database: &Database) -> PostgresProvider {
    PostgresProvider::new(&options(database)).unwrap()
}

async fn open() -> Opened {
    let database = Postgres::shared().await.create_database().await;
    let (first, second) = (provider(&database), provider(&database));
    first.initialize().await.unwrap();
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
