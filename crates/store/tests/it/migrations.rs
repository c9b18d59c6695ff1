use futures_util::future::join_all;
use synckit_store::migrations::Migration;
use synckit_store::postgres::PostgresProvider;
use synckit_store::postgres::migrate::MIGRATIONS;
use synckit_store::{Cause, OpenError, StorageProvider};
use synckit_testkit::{Database, Postgres};
use tokio_postgres::NoTls;

use crate::postgres::provider;

const FIRST: Migration =
    Migration { version: "001_first", sql: "CREATE TABLE first (id BIGINT); SELECT 1" };
const SECOND: Migration =
    Migration { version: "002_second", sql: "ALTER TABLE first ADD COLUMN more TEXT" };
const THIRD: Migration = Migration { version: "003_third", sql: "CREATE TABLE third (id BIGINT)" };

async fn database() -> (Database, PostgresProvider) {
    let database = Postgres::shared().await.create_database().await;
    let provider = provider(&database);
    (database, provider)
}

async fn run(
    provider: &PostgresProvider,
    migrations: &'static [Migration],
) -> Result<Vec<Migration>, OpenError> {
    provider.migrator().with_migrations(migrations).run().await
}

async fn count(database: &Database, sql: &str) -> i64 {
    let (client, connection) =
        tokio_postgres::connect(&database.url(), NoTls).await.expect("connect");
    tokio::select! {
        row = client.query_one(sql, &[]) => row.expect("a row").get(0),
        _ = connection => panic!("the connection ended"),
    }
}

async fn tables(database: &Database) -> i64 {
    count(database, "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")
        .await
}

/// Asserts that every way to start refuses with this text, and leaves the database as it is.
async fn check_refused(
    database: &Database,
    provider: &PostgresProvider,
    migrations: &'static [Migration],
    expected: &str,
) {
    let tables_before = tables(database).await;
    let migrator = || provider.migrator().with_migrations(migrations);
    for error in [
        migrator().status().await.expect_err("refused"),
        migrator().plan().await.expect_err("refused"),
        migrator().run().await.expect_err("refused"),
    ] {
        assert!(matches!(error, OpenError::Schema(_)), "{error:?}");
        assert!(error.to_string().contains(expected), "{error} lacks {expected:?}");
        assert!(error.is_configuration());
    }
    assert_eq!(tables(database).await, tables_before);
}

#[tokio::test]
async fn a_fresh_database_gets_the_schema_once() {
    let (database, provider) = database().await;
    assert_eq!(provider.migrator().plan().await.unwrap(), MIGRATIONS);
    assert_eq!(tables(&database).await, 0, "a plan changes nothing");
    assert_eq!(provider.migrator().run().await.unwrap(), MIGRATIONS);
    assert_eq!(tables(&database).await, 8);

    let status = provider.migrator().status().await.unwrap();
    assert_eq!(status.pending, []);
    let applied = status.applied.iter().map(|row| (row.version.clone(), row.checksum.clone()));
    let known = MIGRATIONS.iter().map(|file| (file.version.to_owned(), file.checksum()));
    assert!(applied.eq(known));
    assert_eq!(provider.migrator().run().await.unwrap(), []);
}

#[tokio::test]
async fn later_files_are_added_to_earlier_ones() {
    let (_database, provider) = database().await;
    assert_eq!(run(&provider, &[FIRST]).await.unwrap(), [FIRST]);
    assert_eq!(run(&provider, &[FIRST, SECOND, THIRD]).await.unwrap(), [SECOND, THIRD]);
}

#[tokio::test]
async fn ten_processes_may_start_at_once() {
    let (database, _) = database().await;
    let providers: Vec<_> = (0..10).map(|_| provider(&database)).collect();
    let runs =
        join_all(providers.iter().map(|provider| run(provider, &[FIRST, SECOND, THIRD]))).await;
    // They may take turns.
    let mut applied: Vec<Migration> = runs.into_iter().flat_map(|run| run.unwrap()).collect();
    applied.sort_by_key(|migration| migration.version);
    assert_eq!(applied, [FIRST, SECOND, THIRD], "each was applied once");
    let order = database.rows("SELECT version FROM schema_migrations ORDER BY applied_at").await;
    assert_eq!(order.concat(), [FIRST, SECOND, THIRD].map(|migration| migration.version));
}

#[tokio::test]
async fn ten_servers_initialize_at_once() {
    let (database, _) = database().await;
    let providers: Vec<_> = (0..10).map(|_| provider(&database)).collect();
    let starts = join_all(providers.iter().map(StorageProvider::initialize)).await;
    assert!(starts.iter().all(Result::is_ok), "{starts:?}");
    assert_eq!(
        count(&database, "SELECT count(*) FROM schema_migrations").await,
        MIGRATIONS.len() as i64
    );
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing_and_those_before_it_stay() {
    const BROKEN: Migration =
        Migration { version: "002_broken", sql: "CREATE TABLE half (id BIGINT); SELECT 1/0" };
    let (database, provider) = database().await;
    let error = run(&provider, &[FIRST, BROKEN, THIRD]).await.unwrap_err();
    assert!(error.to_string().contains("migration 002_broken: "), "{error}");
    assert_eq!(tables(&database).await, 2, "schema_migrations and first");
    assert_eq!(run(&provider, &[FIRST, SECOND, THIRD]).await.unwrap(), [SECOND, THIRD]);
}

#[tokio::test]
async fn gaps_edits_and_newer_schemas_are_refused_by_name() {
    const EDITED: Migration = Migration { sql: "SELECT 2", ..FIRST };
    let (database, provider) = database().await;
    check_refused(&database, &provider, &[FIRST, THIRD], "003_third of this program").await;
    run(&provider, &[FIRST, SECOND, THIRD]).await.unwrap();
    check_refused(&database, &provider, &[EDITED, SECOND, THIRD], "001_first was changed").await;
    check_refused(&database, &provider, &[FIRST], "002_second, which this program does not").await;
    database.execute("DELETE FROM schema_migrations WHERE version = '002_second'").await;
    check_refused(&database, &provider, &[FIRST, SECOND, THIRD], "003_third but not 002_s").await;
}

#[tokio::test]
async fn tables_of_another_server_are_refused() {
    for foreign in [
        // The layout of the TypeScript server.
        "CREATE TABLE documents (id VARCHAR(255) PRIMARY KEY, state JSONB NOT NULL DEFAULT '{}')",
        "CREATE TABLE deltas (id UUID PRIMARY KEY, field_path VARCHAR(500) NOT NULL)",
        // The layout of the plan that this server's tables come from.
        "CREATE TABLE documents (id VARCHAR(255) PRIMARY KEY, vector_clock JSONB NOT NULL); \
         CREATE TABLE schema_migrations (version VARCHAR(255) PRIMARY KEY, applied_at TIMESTAMPTZ)",
        // Some other program's list of migrations.
        "CREATE TABLE schema_migrations (version BIGINT PRIMARY KEY, dirty BOOLEAN)",
    ] {
        let (database, provider) = database().await;
        database.execute(foreign).await;
        let expected = "use another database or schema";
        check_refused(&database, &provider, MIGRATIONS, expected).await;
        let error = provider.initialize().await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn another_schema_of_the_same_database_is_free() {
    let (database, _) = database().await;
    database.execute("CREATE TABLE documents (id BIGINT); CREATE SCHEMA ours").await;
    let mut options = crate::postgres::options(&database);
    options.connection.config.options("-c search_path=ours");
    let provider = PostgresProvider::new(&options).unwrap();
    provider.initialize().await.unwrap();
    assert_eq!(provider.documents().document_ids(1, None).await.unwrap(), []);
}

#[tokio::test]
async fn tables_that_were_replaced_are_refused() {
    let (database, provider) = database().await;
    provider.initialize().await.unwrap();
    database.execute("DROP TABLE documents CASCADE; CREATE TABLE documents (id BIGINT)").await;
    check_refused(&database, &provider, MIGRATIONS, "documents was made by another").await;
}

#[tokio::test]
async fn a_lock_that_is_never_freed_ends_the_wait() {
    let (database, provider) = database().await;
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
    let waits = async {
        let key = "SELECT pg_advisory_lock(x'53796e634b697401'::bigint)";
        client.batch_execute(key).await.unwrap();
        let lock_timeout = std::time::Duration::from_millis(50);
        let migrator = provider.migrator().with_lock_timeout(lock_timeout);
        let error = migrator.run().await.unwrap_err();
        assert!(
            matches!(&error, OpenError::Unavailable(it) if it.cause == Cause::Timeout),
            "{error:?}"
        );
    };
    tokio::select! {
        () = waits => {}
        _ = connection => panic!("the connection ended"),
    }
}

#[test]
fn every_file_that_is_new_says_which_programs_can_live_with_it() {
    // Files that were there before they had to.
    let before = ["001_initial_schema", "002_clocks_and_ids"];
    let files = MIGRATIONS.iter().chain(synckit_store::sqlite::migrate::MIGRATIONS);
    for file in files.filter(|file| !before.contains(&file.version)) {
        let line = "-- Oldest program: ";
        assert!(file.sql.contains(line), "{}: add a line `{line}NNN`", file.version);
    }
}
