use futures_util::future::join_all;
use synckit_engine::ids::DocumentId;
use synckit_engine::position::Seq;
use synckit_store::postgres::migrate::MIGRATIONS;
use synckit_store::postgres::{PostgresOptions, PostgresProvider};
use synckit_store::{Cause, Delivery, DocumentStore, OpenError, StorageProvider};
use synckit_testkit::{Database, PgBouncer, Postgres};

use crate::outages::{append_until_stored, edit};

/// Two providers that reach one database through a pooler, as two processes do.
struct Opened {
    first: PostgresProvider,
    second: PostgresProvider,
    /// Dropped last, with the connections gone.
    database: Database,
    bouncer: PgBouncer,
}

impl Opened {
    fn store(&self) -> &dyn DocumentStore {
        self.first.documents()
    }

    fn other(&self) -> &dyn DocumentStore {
        self.second.documents()
    }
}

fn options(database: &Database, bouncer: &PgBouncer) -> PostgresOptions {
    PostgresOptions::new(database.url_at_port(bouncer.port()).parse().expect("a URL"))
}

pub(crate) fn provider(database: &Database, bouncer: &PgBouncer) -> PostgresProvider {
    PostgresProvider::new(&options(database, bouncer)).expect("valid options")
}

async fn open_with(settings: &[&str]) -> Opened {
    let postgres = Postgres::shared().await;
    let database = postgres.create_database().await;
    let bouncer = PgBouncer::start_with_settings(postgres, settings).await;
    let (first, second) = (provider(&database, &bouncer), provider(&database, &bouncer));
    first.initialize().await.expect("initialize");
    Opened { first, second, database, bouncer }
}

async fn open() -> Opened {
    open_with(&[]).await
}

synckit_store::conformance_tests!(open);

#[tokio::test]
async fn ten_servers_initialize_at_once() {
    let postgres = Postgres::shared().await;
    let database = postgres.create_database().await;
    let bouncer = PgBouncer::start(postgres).await;
    let providers: Vec<_> = (0..10).map(|_| provider(&database, &bouncer)).collect();
    let starts = join_all(providers.iter().map(StorageProvider::initialize)).await;
    assert!(starts.iter().all(Result::is_ok), "{starts:?}");
    let applied = database.rows("SELECT count(*) FROM schema_migrations").await;
    assert_eq!(applied, [[MIGRATIONS.len().to_string()]]);
}

#[tokio::test]
async fn a_restart_in_the_middle_is_told_and_then_over() {
    let mut opened = open().await;
    let stored = append_until_stored(opened.first.documents(), &edit("doc", 1)).await;
    assert_eq!(stored, Delivery::Stored(Seq(1)));

    opened.bouncer.stop().await;
    let store = opened.first.documents();
    let id = DocumentId::new("doc").unwrap();
    for error in [
        store.append(&edit("doc", 2)).await.unwrap_err(),
        store.get(&id).await.unwrap_err(),
        opened.first.check_health().await.unwrap_err(),
    ] {
        assert!(error.is_unavailable(), "{error:?}");
    }
    let error = opened.first.migrator().run().await.unwrap_err();
    assert!(matches!(error, OpenError::Unavailable(_)), "{error:?}");

    opened.bouncer.start_again().await;
    let store = opened.first.documents();
    assert_eq!(append_until_stored(store, &edit("doc", 1)).await, Delivery::Repeated(Seq(1)));
    assert_eq!(append_until_stored(store, &edit("doc", 2)).await, Delivery::Stored(Seq(2)));
}

#[tokio::test]
async fn writes_under_way_while_it_restarts_are_stored_once() {
    let mut opened = open().await;
    let (first, second) = (opened.first.documents(), opened.second.documents());
    let write = async |store: &dyn DocumentStore, document| {
        for counter in 1..=100 {
            while let Err(error) = store.append(&edit(document, counter)).await {
                assert!(error.is_unavailable(), "{error:?}");
            }
        }
    };
    let database = &opened.database;
    let bouncer = &mut opened.bouncer;
    let restart = async {
        while database.rows("SELECT 1 FROM documents WHERE head_seq > 10").await.is_empty() {}
        bouncer.stop().await;
        bouncer.start_again().await;
    };
    tokio::join!(write(first, "a"), write(second, "b"), restart);
    let ids = ["a", "b"].map(|id| DocumentId::new(id).unwrap());
    for head in first.heads(&ids).await.unwrap() {
        assert_eq!(head.unwrap().seq, Seq(100));
    }
}

#[tokio::test]
async fn clients_that_share_its_connections_are_left_as_they_were() {
    let opened = open_with(&["default_pool_size = 1"]).await;
    append_until_stored(opened.store(), &edit("doc", 1)).await;
    append_until_stored(opened.other(), &edit("doc", 1)).await;
    let url = opened.database.url_at_port(opened.bouncer.port());
    let (client, connection) =
        tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("connect");
    let look = async {
        let shown = client.simple_query("SHOW enable_seqscan").await.expect("an answer");
        let value = shown.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        assert_eq!(value, Some("on"));
        let prepared = "SELECT count(*)::int8 FROM pg_prepared_statements";
        let rows = client.query_typed(prepared, &[]).await.expect("an answer");
        assert_eq!(rows[0].get::<_, i64>(0), 0);
    };
    tokio::select! {
        () = look => {}
        _ = connection => panic!("the connection ended"),
    }
}

#[tokio::test]
async fn a_write_behind_it_has_the_deadline_of_a_call_on_the_server_too() {
    let opened = open().await;
    append_until_stored(opened.store(), &edit("doc", 1)).await;
    let lock = "BEGIN; SELECT 1 FROM documents FOR UPDATE";
    let (holder, connection) =
        tokio_postgres::connect(&opened.database.url(), tokio_postgres::NoTls).await.unwrap();
    let waits = async {
        holder.batch_execute(lock).await.unwrap();
        let short = std::time::Duration::from_millis(200);
        let options =
            PostgresOptions { call_timeout: short, ..options(&opened.database, &opened.bouncer) };
        let hasty = PostgresProvider::new(&options).unwrap();
        let error = hasty.documents().append(&edit("doc", 2)).await.unwrap_err();
        assert_eq!(error.cause(), Some(Cause::Timeout), "{error:?}");
        // Nobody waits for it any more, so the server gives it up by itself.
        let waiting = "SELECT 1 FROM pg_stat_activity \
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while !opened.database.rows(waiting).await.is_empty() {}
        holder.batch_execute("ROLLBACK").await.unwrap();
    };
    tokio::select! {
        () = waits => {}
        _ = connection => panic!("the connection ended"),
    }
    let delivery = append_until_stored(opened.store(), &edit("doc", 3)).await;
    assert_eq!(delivery, Delivery::Stored(Seq(2)), "the one that was given up is not there");
}

#[tokio::test]
async fn one_that_drops_the_options_of_a_connection_works_until_they_matter() {
    let opened = open_with(&["ignore_startup_parameters = options"]).await;
    append_until_stored(opened.store(), &edit("doc", 1)).await;
    let mut options = options(&opened.database, &opened.bouncer);
    options.connection.config.options("-c search_path=elsewhere");
    let error = PostgresProvider::new(&options).unwrap().initialize().await.unwrap_err();
    assert!(matches!(error, OpenError::Configuration(_)), "{error:?}");
    assert!(error.to_string().contains("drops `options`"), "{error}");
}

#[tokio::test]
async fn one_that_refuses_the_options_of_a_connection_says_what_to_do() {
    let opened = open().await;
    let mut options = options(&opened.database, &opened.bouncer);
    options.connection.config.options("-c search_path=elsewhere");
    let error = PostgresProvider::new(&options).unwrap().initialize().await.unwrap_err();
    assert!(matches!(error, OpenError::Configuration(_)), "{error:?}");
    assert!(error.to_string().contains("for the role instead"), "{error}");
}

#[tokio::test]
async fn statement_mode_is_refused() {
    let postgres = Postgres::shared().await;
    let database = postgres.create_database().await;
    let bouncer = PgBouncer::start_with_settings(postgres, &["pool_mode = statement"]).await;
    let error = provider(&database, &bouncer).initialize().await.unwrap_err();
    assert!(matches!(error, OpenError::Configuration(_)), "{error:?}");
    assert!(error.to_string().contains("pool_mode"), "{error}");
}

#[tokio::test]
async fn session_mode_works_too() {
    let opened = open_with(&["pool_mode = session"]).await;
    let delivery = append_until_stored(opened.store(), &edit("doc", 1)).await;
    assert_eq!(delivery, Delivery::Stored(Seq(1)));
}
