//! Whose schema it is: roles with few rights, search paths that change, and transactions that stand in
//! the way of a migration.

use std::time::{Duration, Instant};

use synckit_engine::clock::VectorClock;
use synckit_engine::position::Seq;
use synckit_store::migrations::Migration;
use synckit_store::postgres::migrate::MIGRATIONS;
use synckit_store::postgres::{PostgresOptions, PostgresProvider};
use synckit_store::{Cause, Delivery, OpenError, StorageProvider, StoredSnapshot};
use synckit_testkit::{Database, PgBouncer, Postgres};
use tokio_postgres::NoTls;

use crate::outages::{append_until_stored, edit};
use crate::postgres::provider;
use crate::sqlite::document;

/// As docs/configuration.md has them.
const GRANTS: &str = "GRANT USAGE ON SCHEMA public TO app; \
    GRANT SELECT ON schema_migrations, document_clocks, store_history, store_place TO app; \
    GRANT SELECT, UPDATE ON store_origin TO app; \
    GRANT SELECT, INSERT, UPDATE, DELETE ON documents, deltas, compaction_claims TO app; \
    GRANT USAGE ON SEQUENCE document_epochs TO app";

/// A database whose tables belong to somebody else than `app`.
async fn migrated() -> (Postgres, Database) {
    // Roles are of a whole server.
    let postgres = Postgres::start_private().await;
    let database = postgres.create_database().await;
    provider(&database).initialize().await.expect("initialize");
    database.execute("CREATE ROLE app LOGIN").await;
    (postgres, database)
}

fn options_of(url: &str, migrates: bool) -> PostgresOptions {
    PostgresOptions { migrates, ..PostgresOptions::new(url.parse().expect("a URL")) }
}

fn provider_of(url: &str, migrates: bool) -> PostgresProvider {
    PostgresProvider::new(&options_of(url, migrates)).expect("valid options")
}

async fn store(provider: &PostgresProvider, counter: u64) {
    let stored = append_until_stored(provider.documents(), &edit("doc", counter)).await;
    assert_eq!(stored, Delivery::Stored(Seq(counter)));
}

/// Where tables called `documents` are.
async fn places(database: &Database) -> Vec<String> {
    let sql = "SELECT relnamespace::regnamespace FROM pg_class WHERE relname = 'documents'";
    database.rows(sql).await.concat()
}

#[tokio::test]
async fn a_role_that_may_only_read_and_write_rows_serves_what_another_made() {
    let (_postgres, database) = migrated().await;
    let url = database.url_as("app", "");
    let error = provider_of(&url, true).initialize().await.unwrap_err();
    assert!(error.is_configuration() && error.to_string().contains("permission"), "{error}");
    database.execute(GRANTS).await;
    for migrates in [true, false] {
        let provider = provider_of(&url, migrates);
        provider.initialize().await.unwrap();
        let store = provider.documents();
        let id = document("doc");
        append_until_stored(store, &edit("doc", 1)).await;
        append_until_stored(store, &edit("doc", 1)).await;
        let head = store.get_or_create(&id).await.unwrap().head;
        let clock = store.vector_clock(&id).await.unwrap();
        let snapshot = StoredSnapshot { bytes: vec![1], clock: clock.clone(), position: head };
        assert!(store.save_snapshot(&id, &snapshot).await.unwrap());
        assert_eq!(store.compact(&id, &clock, None).await.unwrap(), 1);
        assert!(store.claim_compaction(&id, "node", Duration::from_secs(1)).await.unwrap());
        assert!(store.claim_compaction(&id, "node", Duration::ZERO).await.unwrap());
        assert_eq!(store.deltas_since(&id, Some(&VectorClock::new()), Seq(0)).await.unwrap(), []);
        assert!(store.delete(&id).await.unwrap());
    }
}

#[tokio::test]
async fn a_role_without_the_right_to_migrate_says_who_has_to() {
    let (_postgres, database) = migrated().await;
    database.execute(GRANTS).await;
    database.execute("DELETE FROM schema_migrations WHERE version LIKE '003%'").await;
    let url = database.url_as("app", "");
    for migrates in [true, false] {
        let error = provider_of(&url, migrates).initialize().await.unwrap_err();
        assert!(matches!(error, OpenError::Schema(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("003_store") && text.contains("synckit-server migrate"), "{text}");
    }
}

#[tokio::test]
async fn a_start_that_only_checks_makes_nothing() {
    let database = Postgres::shared().await.create_database().await;
    let error = provider_of(&database.url(), false).initialize().await.unwrap_err();
    assert!(error.to_string().contains("lacks migration 001_initial_schema"), "{error}");
    assert!(places(&database).await.is_empty());
    provider_of(&database.url(), true).initialize().await.unwrap();
    provider_of(&database.url(), false).initialize().await.unwrap();
}

#[tokio::test]
async fn a_search_path_that_leaks_through_a_pooler_hides_nothing_and_makes_nothing() {
    let postgres = Postgres::shared().await;
    let database = postgres.create_database().await;
    let bouncer = PgBouncer::start_with_settings(postgres, &["default_pool_size = 1"]).await;
    let url = database.url_at_port(bouncer.port());
    let running = provider_of(&url, true);
    running.initialize().await.unwrap();
    store(&running, 1).await;

    database.execute("CREATE SCHEMA elsewhere").await;
    let leak = async |path: &str| {
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::select! {
            leaked = client.batch_execute(path) => leaked.unwrap(),
            _ = connection => panic!("the connection ended"),
        }
    };
    for (counter, path) in [
        (2, "SET search_path = ''"),
        (3, "SET search_path = elsewhere"),
        (4, "SET search_path = elsewhere; CREATE TEMPORARY TABLE documents (id int)"),
    ] {
        leak(path).await;
        store(&running, counter).await;
        leak(path.split(';').next().unwrap()).await;
        provider_of(&url, true).initialize().await.unwrap();
        assert_eq!(running.documents().heads(&[document("doc")]).await.unwrap().len(), 1);
    }
    database.execute("DISCARD TEMPORARY").await;
    assert!(!places(&database).await.contains(&"elsewhere".to_owned()));
}

#[tokio::test]
async fn tables_off_the_search_path_are_not_made_again_in_silence() {
    let database = Postgres::shared().await.create_database().await;
    let name = database.name().to_owned();
    let running = provider(&database);
    running.initialize().await.unwrap();
    store(&running, 1).await;
    database.execute("CREATE SCHEMA \"El'se\"").await;
    let path = format!("ALTER DATABASE {name} SET search_path = \"El'se\"");
    database.execute(&path).await;
    let cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.execute(cut).await;
    store(&running, 2).await;

    let error = provider(&database).initialize().await.unwrap_err();
    assert!(matches!(error, OpenError::Schema(_)), "{error:?}");
    assert!(error.to_string().contains("Search Path=public"), "{error}");
    assert_eq!(places(&database).await, ["public"]);

    let with_path = |path: &str| provider_of(&format!("{}?{path}", database.url()), true);
    let again = with_path("search_path=public");
    again.initialize().await.unwrap();
    store(&again, 3).await;
    let keywords = format!("{};Search Path=absent,public", database.connection_string());
    let again = provider_of(&keywords, true);
    again.initialize().await.unwrap();
    store(&again, 4).await;
    let error = with_path("search_path=absent").initialize().await.unwrap_err();
    assert!(error.to_string().contains("no schema of the search path (absent)"), "{error}");

    let second = with_path("search_path=%22El'se%22");
    second.initialize().await.unwrap();
    store(&second, 1).await;
    assert_eq!(places(&database).await.len(), 2, "because somebody asked for it");
}

#[tokio::test]
async fn a_transaction_that_stays_open_stops_a_migration_and_nobody_else() {
    let database = Postgres::shared().await.create_database().await;
    let before: &'static [Migration] = &MIGRATIONS[..1];
    let old = provider(&database);
    old.migrator().with_migrations(before).run().await.unwrap();
    database.execute("INSERT INTO documents (id) VALUES ('doc')").await;

    let (idle, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
    let test = async {
        idle.batch_execute("BEGIN; SELECT count(*) FROM deltas, documents").await.unwrap();
        let migrator = old.migrator().with_lock_timeout(Duration::from_millis(100));
        let error = migrator.run().await.unwrap_err();
        let OpenError::Unavailable(why) = &error else { panic!("{error:?}") };
        assert_eq!(why.cause, Cause::Conflict);
        assert!(why.reason.contains("002_clocks_and_ids: a transaction holds"), "{error}");

        let newer = provider(&database);
        let end = async {
            while newer.waits_for().is_none_or(|why| !why.contains("a transaction holds")) {
                let start = Instant::now();
                database.execute("SELECT count(*) FROM deltas, documents").await;
                let write = "UPDATE documents SET updated_at = now()";
                database.execute(write).await;
                assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
            }
            idle.batch_execute("COMMIT").await.unwrap();
        };
        let (applied, ()) = tokio::join!(newer.initialize(), end);
        applied.unwrap();
        assert_eq!(newer.waits_for(), None);
    };
    tokio::select! {
        () = test => {}
        _ = connection => panic!("the connection ended"),
    }
}

#[tokio::test]
async fn a_program_of_before_starts_where_the_migration_says_that_it_can() {
    let database = Postgres::shared().await.create_database().await;
    provider(&database).initialize().await.unwrap();
    let number = MIGRATIONS.len() + 1;
    let version: &'static str = format!("{number:03}_more").leak();
    let sql = format!("-- Oldest program: {:03}\nCREATE TABLE more ()", MIGRATIONS.len());
    let next = Migration { version, sql: sql.leak() };
    let later: &'static [Migration] = [MIGRATIONS, &[next]].concat().leak();
    let newer = provider(&database);
    assert_eq!(newer.migrator().with_migrations(later).run().await.unwrap(), [next]);
    let older = provider(&database);
    older.initialize().await.unwrap();
    store(&older, 1).await;
}
