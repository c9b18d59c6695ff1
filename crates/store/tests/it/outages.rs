use std::time::{Duration, Instant};

use synckit_engine::clock::EditNumber;
use synckit_engine::delta::{Delta, DeltaId};
use synckit_engine::ids::{ClientId, DocumentId};
use synckit_engine::position::{Position, Seq};
use synckit_store::postgres::{PostgresOptions, PostgresProvider};
use synckit_store::{
    Append, Cause, Delivery, DocumentStore, OpenError, StorageProvider, StoreError,
};
use synckit_testkit::{Database, Postgres};
use tokio_postgres::NoTls;

use crate::postgres::{options, provider};

/// Longer than a pooler or a starting database keeps callers away.
const STORED_WITHIN: Duration = Duration::from_secs(30);

const TRY_AGAIN: Duration = Duration::from_millis(20);

pub(crate) fn edit(document: &str, counter: u64) -> Vec<Append> {
    let client = ClientId::new("client").expect("a client id");
    let delta = Delta {
        id: DeltaId::new(&format!("delta-{counter}")),
        number: EditNumber(counter),
        client,
        timestamp: 1,
        changes: Vec::new().into(),
    };
    let document = DocumentId::new(document).expect("a document id");
    vec![Append { document, deltas: vec![delta] }]
}

/// As a caller does it: again after a pause, as long as the store says that this may help.
pub(crate) async fn append_until_stored(store: &dyn DocumentStore, batch: &[Append]) -> Delivery {
    let end = Instant::now() + STORED_WITHIN;
    let mut tries = tokio::time::interval(TRY_AGAIN);
    loop {
        tries.tick().await;
        match store.append(batch).await {
            Ok(appended) => return appended[0].deliveries[0],
            Err(error) => {
                assert!(error.is_unavailable(), "{error:?}");
                assert!(Instant::now() < end, "not within {STORED_WITHIN:?}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn a_killed_database_is_not_available_and_its_return_is_enough() {
    let postgres = Postgres::start_private().await;
    let database = postgres.create_database().await;
    let provider = provider(&database);
    provider.initialize().await.unwrap();
    let store = provider.documents();
    assert_eq!(append_until_stored(store, &edit("doc", 1)).await, Delivery::Stored(Seq(1)));

    postgres.kill9().await;
    let id = DocumentId::new("doc").unwrap();
    let stored = 1;
    let first_error = store.append(&edit("doc", stored + 1)).await.unwrap_err();
    for error in [
        first_error,
        store.append(&edit("doc", stored + 1)).await.unwrap_err(),
        store.get(&id).await.unwrap_err(),
        store.exists(&id).await.unwrap_err(),
        store.delete(&id).await.unwrap_err(),
        store.deltas_after(&id, Position::default()).await.unwrap_err(),
        provider.check_health().await.unwrap_err(),
    ] {
        let killed = [Cause::Unreachable, Cause::Interrupted];
        assert!(error.cause().is_some_and(|cause| killed.contains(&cause)), "{error:?}");
    }
    let error = provider.migrator().run().await.unwrap_err();
    assert!(matches!(error, OpenError::Unavailable(_)), "{error:?}");

    postgres.start_again().await;
    for counter in 1..=stored {
        let repeated = append_until_stored(store, &edit("doc", counter)).await;
        assert_eq!(repeated, Delivery::Repeated(Seq(counter)), "what was acknowledged is there");
    }
    append_until_stored(store, &edit("doc", stored + 1)).await;
    assert_eq!(store.heads(&[id]).await.unwrap()[0].unwrap().seq, Seq(stored + 1));
    provider.check_health().await.unwrap();
}

#[tokio::test]
async fn an_append_that_is_killed_in_the_middle_is_whole_or_not_there() {
    let postgres = Postgres::start_private().await;
    let database = postgres.create_database().await;
    let provider = provider(&database);
    provider.initialize().await.unwrap();
    let store = provider.documents();
    let mut stored = 0;
    let writes = async {
        for counter in 1.. {
            match store.append(&edit("doc", counter)).await {
                Ok(_) => stored = counter,
                Err(error) => return assert!(error.is_unavailable(), "{error:?}"),
            }
        }
    };
    // Killed at the moment when some writes have been acknowledged and one is under way.
    let kill = async {
        let id = [DocumentId::new("doc").unwrap()];
        let other = crate::postgres::provider(&database);
        loop {
            let heads = other.documents().heads(&id).await.unwrap();
            if heads[0].is_some_and(|head| head.seq >= Seq(5)) {
                break;
            }
        }
        postgres.kill9().await;
    };
    tokio::join!(writes, kill);
    postgres.start_again().await;
    for counter in 1..=stored {
        let delivery = append_until_stored(store, &edit("doc", counter)).await;
        assert_eq!(delivery, Delivery::Repeated(Seq(counter)));
    }
    // The one under way is either there, under the next number, or is stored under it now.
    let next = match append_until_stored(store, &edit("doc", stored + 1)).await {
        Delivery::Stored(seq) | Delivery::Repeated(seq) => seq,
    };
    assert_eq!(next, Seq(stored + 1));
}

#[tokio::test]
async fn a_cut_connection_is_replaced() {
    let database = Postgres::shared().await.create_database().await;
    let provider = provider(&database);
    provider.initialize().await.unwrap();
    append_until_stored(provider.documents(), &edit("doc", 1)).await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.execute(cut).await;
    let delivery = append_until_stored(provider.documents(), &edit("doc", 2)).await;
    assert!(matches!(delivery, Delivery::Stored(Seq(2)) | Delivery::Repeated(Seq(2))));
}

/// Holds the row of a document as a stuck process would, while `work` runs.
async fn with_locked_documents(database: &Database, work: impl Future<Output = ()>) {
    let (client, connection) =
        tokio_postgres::connect(&database.url(), NoTls).await.expect("connect");
    let locked = async {
        client.batch_execute("BEGIN; SELECT 1 FROM documents FOR UPDATE").await.expect("lock");
        work.await;
        client.batch_execute("ROLLBACK").await.expect("rollback");
    };
    tokio::select! {
        () = locked => {}
        _ = connection => panic!("the connection ended"),
    }
}

#[tokio::test]
async fn a_call_that_waits_for_a_lock_ends_at_its_deadline() {
    let database = Postgres::shared().await.create_database().await;
    let call_timeout = Duration::from_millis(300);
    let options = PostgresOptions { call_timeout, pool_max: 2, writers: 1, ..options(&database) };
    let provider = PostgresProvider::new(&options).unwrap();
    crate::postgres::provider(&database).initialize().await.unwrap();
    let store = provider.documents();
    append_until_stored(store, &edit("doc", 1)).await;
    let id = DocumentId::new("doc").unwrap();
    with_locked_documents(&database, async {
        for error in [
            store.append(&edit("doc", 2)).await.unwrap_err(),
            store.append(&edit("doc", 1)).await.unwrap_err(),
            store.delete(&id).await.unwrap_err(),
        ] {
            assert_eq!(error.cause(), Some(Cause::Timeout), "{error:?}");
            assert!(error.to_string().contains("within 300ms"), "{error}");
        }
    })
    .await;
    // The one connection of the pool was not left in the middle of a transaction.
    let delivery = append_until_stored(store, &edit("doc", 3)).await;
    assert!(matches!(delivery, Delivery::Stored(_)));
    assert!(store.exists(&id).await.unwrap());
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_no_half_done_connection() {
    let database = Postgres::shared().await.create_database().await;
    let options = PostgresOptions { pool_max: 2, writers: 1, ..options(&database) };
    let provider = PostgresProvider::new(&options).unwrap();
    provider.initialize().await.unwrap();
    let store = provider.documents();
    append_until_stored(store, &edit("doc", 1)).await;
    let id = DocumentId::new("doc").unwrap();
    with_locked_documents(&database, async {
        for _ in 0..3 {
            let short = Duration::from_millis(50);
            assert!(tokio::time::timeout(short, store.delete(&id)).await.is_err());
        }
    })
    .await;
    for counter in 2..10 {
        append_until_stored(store, &edit("other", counter)).await;
    }
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_leaves_no_process_waiting() {
    let database = Postgres::shared().await.create_database().await;
    let provider = provider(&database);
    provider.initialize().await.unwrap();
    let store = provider.documents();
    append_until_stored(store, &edit("doc", 1)).await;
    let id = DocumentId::new("doc").unwrap();
    let waiting = "SELECT 1 FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    with_locked_documents(&database, async {
        let short = Duration::from_millis(200);
        let batch = edit("doc", 2);
        let (appended, deleted) = tokio::join!(
            tokio::time::timeout(short, store.append(&batch)),
            tokio::time::timeout(short, store.delete(&id)),
        );
        assert!(appended.is_err() && deleted.is_err(), "both wait for the lock");
        // Far less than the server's own limit.
        let end = Instant::now() + Duration::from_secs(2);
        while !database.rows(waiting).await.is_empty() {
            assert!(Instant::now() < end, "they still wait");
        }
    })
    .await;
    let delivery = append_until_stored(store, &edit("doc", 2)).await;
    assert_eq!(delivery, Delivery::Stored(Seq(2)), "what was cancelled is not stored");
}

#[tokio::test]
async fn appends_do_not_wait_behind_those_who_read() {
    let database = Postgres::shared().await.create_database().await;
    let options = PostgresOptions { pool_max: 2, writers: 1, ..options(&database) };
    let provider = PostgresProvider::new(&options).unwrap();
    provider.initialize().await.unwrap();
    let store = provider.documents();
    append_until_stored(store, &edit("doc", 1)).await;
    let (held, id) = (DocumentId::new("held").unwrap(), DocumentId::new("doc").unwrap());
    append_until_stored(store, &edit("held", 1)).await;
    let (client, connection) =
        tokio_postgres::connect(&database.url(), NoTls).await.expect("connect");
    let work = async {
        let lock = "BEGIN; SELECT 1 FROM documents WHERE id = 'held' FOR UPDATE";
        client.batch_execute(lock).await.expect("lock");
        // Takes the one connection for everything else, and the others queue behind it.
        let reads = async { tokio::join!(store.delete(&held), store.get(&id), store.get(&id)) };
        let appends = async {
            let start = Instant::now();
            for counter in 2..20 {
                append_until_stored(store, &edit("doc", counter)).await;
            }
            provider.check_health().await.expect("the look finds a connection too");
            assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
            client.batch_execute("ROLLBACK").await.expect("rollback");
        };
        let ((deleted, one, two), ()) = tokio::join!(reads, appends);
        assert!(deleted.unwrap() && one.unwrap().is_some() && two.unwrap().is_some());
    };
    tokio::select! {
        () = work => {}
        _ = connection => panic!("the connection ended"),
    }
}

#[tokio::test]
async fn a_write_that_is_tried_needs_what_appends_need_and_leaves_nothing() {
    let database = Postgres::shared().await.create_database().await;
    let provider = provider(&database);
    provider.initialize().await.unwrap();
    provider.try_write().await.unwrap();
    provider.try_write().await.unwrap();
    assert!(database.rows("SELECT 1 FROM deltas").await.is_empty());
    assert_eq!(provider.check_health().await.unwrap().writes_refused, None);
    database.execute("ALTER TABLE deltas RENAME TO lost").await;
    let error = provider.try_write().await.unwrap_err();
    assert_eq!(error.cause(), Some(Cause::SchemaMissing), "{error:?}");
    let refused = provider.check_health().await.unwrap().writes_refused.unwrap();
    assert_eq!(refused.cause, Cause::SchemaMissing, "{refused:?}");
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_a_timeout() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = format!("postgres://user@127.0.0.1:{port}/database").parse().unwrap();
    let call_timeout = Duration::from_millis(200);
    let options = PostgresOptions { call_timeout, ..PostgresOptions::new(config) };
    let provider = PostgresProvider::new(&options).unwrap();
    let accepts = async {
        let mut sockets = Vec::new();
        loop {
            sockets.push(listener.accept().await.unwrap());
        }
    };
    let calls = async {
        let start = Instant::now();
        let id = DocumentId::new("doc").unwrap();
        let error = provider.initialize().await.unwrap_err();
        assert!(matches!(error, OpenError::Unavailable(_)), "{error:?}");
        for error in [
            provider.check_health().await.unwrap_err(),
            provider.documents().append(&edit("doc", 1)).await.unwrap_err(),
            provider.documents().get(&id).await.unwrap_err(),
        ] {
            assert!(error.is_unavailable(), "{error:?}");
        }
        assert!(start.elapsed() < 20 * call_timeout, "{:?}", start.elapsed());
    };
    tokio::select! {
        () = accepts => {}
        () = calls => {}
    }
}

#[tokio::test]
async fn an_edit_that_fits_no_column_is_refused_and_nothing_is_stored() {
    let database = Postgres::shared().await.create_database().await;
    let provider = provider(&database);
    provider.initialize().await.unwrap();
    for counter in [u64::MAX, 1] {
        let mut batch = edit("doc", counter);
        batch[0].deltas[0].timestamp = u64::MAX;
        let error = provider.documents().append(&batch).await.unwrap_err();
        assert!(matches!(error, StoreError::EditRefused(_)), "{error:?}");
    }
    let mut batch = edit("doc", 1);
    batch[0].deltas[0].id = DeltaId::new(&"x".repeat(256));
    let error = provider.documents().append(&batch).await.unwrap_err();
    assert!(matches!(error, StoreError::EditRefused(_)), "{error:?}");
    assert_eq!(provider.documents().document_ids(9, None).await.unwrap(), []);
}

#[tokio::test]
async fn a_database_that_became_read_only_is_not_available() {
    let database = Postgres::shared().await.create_database().await;
    let provider = provider(&database);
    provider.initialize().await.unwrap();
    let name = database.name();
    database
        .execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"))
        .await;
    let readers = crate::postgres::provider(&database);
    let error = readers.documents().append(&edit("doc", 1)).await.unwrap_err();
    assert_eq!(error.cause(), Some(Cause::ReadOnly), "{error:?}");
    assert_eq!(readers.documents().document_ids(9, None).await.unwrap(), []);
}
