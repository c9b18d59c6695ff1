use std::time::Duration;

use serde_json::{Value, json};
use synckit_testkit::{Database, PgBouncer, Postgres, ServerCommand, ServerProcess};
use tokio::time::Instant;

use crate::client::Client;
use crate::setup::{HttpAnswer, http_get, start_server, until_ready_is};
use crate::stored::assert_stored_once;

/// How soon readiness tells of a change. On the machine of the tests it is told so a moment late.
const TOLD_WITHIN: Duration = Duration::from_millis(2_500);

const WRITE_HOLD: &str = "storage.write_hold_ms=1000";

const CUT: &str = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
    WHERE usename = 'app'";

/// Waits for a status, which must come in time.
async fn told(server: &ServerProcess, status: u16) -> HttpAnswer {
    let since = Instant::now();
    let answer = until_ready_is(server, status).await;
    assert!(since.elapsed() < TOLD_WITHIN, "{status} after {:?}: {answer:?}", since.elapsed());
    answer
}

fn cause(ready: &HttpAnswer, store: &str) -> String {
    ready.body["results"][store]["description"].as_str().unwrap_or_default().to_owned()
}

/// A database that the role `app` owns, and one to reach the server from elsewhere.
async fn owned_database(postgres: &Postgres) -> (Database, Database) {
    let (database, outside) = (postgres.create_database().await, postgres.create_database().await);
    outside.execute("CREATE ROLE app LOGIN PASSWORD 'app'").await;
    outside.execute(&format!("ALTER DATABASE {} OWNER TO app", database.name())).await;
    (database, outside)
}

#[tokio::test]
async fn what_keeps_edits_from_being_stored_is_told_while_nobody_writes() {
    let postgres = Postgres::start_private().await;
    let (database, outside) = owned_database(&postgres).await;
    let server = start_server(&database.url_as("app", "app"), &[WRITE_HOLD]).await;
    let mut client = Client::connect(server.address()).await;
    let mut edits = vec![client.set("doc", "field", json!("before")).await];
    let ready = told(&server, 200).await;
    assert_eq!(ready.body["results"]["postgresql"]["tags"], json!(["db", "ready"]));
    let name = database.name();
    let set = |setting: &str| format!("ALTER DATABASE {name} SET {setting}");
    let reset = |setting: &str| format!("ALTER DATABASE {name} RESET {setting}");
    let setting = "default_transaction_read_only";
    let cases = [
        ("read-only", set("default_transaction_read_only = on"), reset(setting)),
        (
            "permission missing",
            "REVOKE INSERT ON deltas FROM app".to_owned(),
            "GRANT INSERT ON deltas TO app".to_owned(),
        ),
        (
            "permission missing",
            "REVOKE UPDATE ON documents FROM app".to_owned(),
            "GRANT UPDATE ON documents TO app".to_owned(),
        ),
        (
            "schema missing",
            "ALTER TABLE deltas RENAME TO lost".to_owned(),
            "ALTER TABLE lost RENAME TO deltas".to_owned(),
        ),
    ];
    for (number, (wanted, wrong, mended)) in cases.into_iter().enumerate() {
        let change = async |sql: &str| {
            if sql.starts_with("ALTER DATABASE") {
                outside.execute(sql).await;
                outside.execute(CUT).await;
            } else {
                database.execute(sql).await;
            }
        };
        change(&wrong).await;
        let ready = told(&server, 503).await;
        assert!(cause(&ready, "postgresql").contains(wanted), "{wrong}: {ready:?}");
        change(&mended).await;
        told(&server, 200).await;
        edits.push(client.set("doc", "field", json!(number)).await);
    }
    assert_stored_once(&database, &edits).await;
}

#[tokio::test]
async fn a_search_path_that_leaks_through_a_pooler_changes_nothing() {
    let postgres = Postgres::start_private().await;
    let database = postgres.create_database().await;
    let bouncer = PgBouncer::start(&postgres).await;
    let server = start_server(&database.url_at_port(bouncer.port()), &[WRITE_HOLD]).await;
    let mut client = Client::connect(server.address()).await;
    client.set("doc", "field", json!("before")).await;
    told(&server, 200).await;

    let name = database.name();
    let cut = format!(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
        WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    );
    let outside = postgres.create_database().await;
    outside.execute(&format!("ALTER DATABASE {name} SET search_path = ''")).await;
    outside.execute(&cut).await;
    client.set("doc", "field", json!("after")).await;
    told(&server, 200).await;
}

/// How many processes of the server work for the program under test.
async fn back_ends(database: &Database) -> usize {
    let others = "SELECT count(*) FROM pg_stat_activity \
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.rows(others).await[0][0].parse().expect("a number")
}

/// Every commit waits for a standby that is not there.
#[tokio::test]
async fn commits_that_hang_are_told_and_leave_no_process_behind() {
    let postgres = Postgres::start_private().await;
    let database = postgres.create_database().await;
    let pool = ["storage.postgresql.pool_max=4", WRITE_HOLD];
    let server = start_server(&database.url(), &pool).await;
    let mut client = Client::connect(server.address()).await;
    let mut edits = vec![client.set("doc", "field", json!("before")).await];

    let outside = postgres.create_database().await;
    outside.execute("ALTER SYSTEM SET synchronous_standby_names = 'gone'").await;
    outside.execute("SELECT pg_reload_conf()").await;
    let mut most = 0;
    let mut refused = Vec::new();
    for number in 0..6 {
        let edit = client.edit("doc", "field", json!(number));
        let sent = Instant::now();
        let message_id = client.send_edit(&edit).await;
        assert_eq!(client.expect_refusal(&message_id).await, "STORAGE_UNAVAILABLE");
        assert!(sent.elapsed() < Duration::from_secs(2), "after {:?}", sent.elapsed());
        refused.push(edit);
        told(&server, 503).await;
        most = most.max(back_ends(&database).await);
    }
    // Those of the pool, and what is being cancelled.
    assert!(most <= 6, "{most} processes");
    assert!(server.stderr().contains("were cancelled"), "{}", server.stderr());
    assert_eq!(server.stderr().matches("the store can't do its work").count(), 1);

    outside.execute("ALTER SYSTEM RESET synchronous_standby_names").await;
    outside.execute("SELECT pg_reload_conf()").await;
    told(&server, 200).await;
    for edit in refused {
        let message_id = client.send_edit(&edit).await;
        client.expect_ack(&message_id).await;
        edits.push(edit);
    }
    assert_eq!(server.stderr().matches("the store is back").count(), 1);
    assert_stored_once(&database, &edits).await;
}

/// The disk that is filled, and the file on it that gives way later.
const DISK_BYTES: u64 = 48 << 20;
const BALLAST_BYTES: u64 = 12 << 20;

#[tokio::test]
async fn a_disk_without_room_is_told_until_there_is_room() {
    let (postgres, disk) = Postgres::start_private_with_small_disk(DISK_BYTES)
        .await
        .expect("a machine that lets tests mount a file system of memory");
    let ballast = disk.join("ballast");
    let database = postgres.create_database().await;
    let outside = postgres.create_database().await;
    outside.execute(&format!("CREATE TABLESPACE small LOCATION '{}'", disk.display())).await;
    outside.execute(&format!("ALTER DATABASE {} SET TABLESPACE small", database.name())).await;
    let write = format!("COPY (SELECT repeat('x', {BALLAST_BYTES})) TO '{}'", ballast.display());
    outside.execute(&write).await;
    let settings = [WRITE_HOLD, "storage.history=forever"];
    let server = start_server(&database.url(), &settings).await;
    let mut client = Client::connect(server.address()).await;
    let text = "x".repeat(200_000);
    let mut edits = Vec::new();
    let refused = loop {
        let edit = client.edit("doc", "field", json!(text));
        let message_id = client.send_edit(&edit).await;
        if client.is_stored(&message_id).await {
            edits.push(edit);
        } else {
            break edit;
        }
        assert!(edits.len() < 1_000, "the disk is never full");
    };
    let ready = told(&server, 503).await;
    assert!(cause(&ready, "postgresql").contains("disk full"), "{ready:?}");

    outside.execute(&format!("COPY (SELECT) TO '{}'", ballast.display())).await;
    told(&server, 200).await;
    let message_id = client.send_edit(&refused).await;
    client.expect_ack(&message_id).await;
    edits.push(refused);
    assert_stored_once(&database, &edits).await;
}

#[tokio::test]
async fn a_database_file_that_is_removed_is_told_until_it_is_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("test.db");
    let server = ServerCommand::new(env!("CARGO_BIN_EXE_synckit-server"))
        .env("SYNCKIT_AUTH_REQUIRED", "false")
        .env("STORAGE__SQLITE__PATH", path.display().to_string())
        .args(["--set", WRITE_HOLD])
        .start()
        .await;
    let mut client = Client::connect(server.address()).await;
    client.set("doc", "field", json!("before")).await;
    told(&server, 200).await;
    let away = directory.path().join("away.db");
    for is_written_meanwhile in [false, true] {
        std::fs::rename(&path, &away).expect("moved away");
        let mut edit = None;
        if is_written_meanwhile {
            let lost = client.edit("doc", "field", json!("meanwhile"));
            let message_id = client.send_edit(&lost).await;
            assert_eq!(client.expect_refusal(&message_id).await, "STORAGE_UNAVAILABLE");
            edit = Some(lost);
        }
        let ready = told(&server, 503).await;
        assert!(cause(&ready, "sqlite").contains("removed, moved or replaced"), "{ready:?}");
        std::fs::rename(&away, &path).expect("moved back");
        told(&server, 200).await;
        if let Some(edit) = edit {
            let message_id = client.send_edit(&edit).await;
            client.expect_ack(&message_id).await;
        }
    }
    let state = client.sync("doc").await;
    assert_eq!(state.fields["field"], Value::from("meanwhile"));
    let live = http_get(server.address(), "/health/live").await;
    assert_eq!(live.status, 200);
}
