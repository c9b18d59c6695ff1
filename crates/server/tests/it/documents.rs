use serde_json::json;
use synckit_testkit::{Database, Postgres};
use tokio_util::task::TaskTracker;

use crate::client::Client;
use crate::setup::{start_server, until};
use crate::stored::assert_stored_once;

const REPAIR: &str = "UPDATE documents SET snapshot = NULL, snapshot_clock = NULL, \
                      snapshot_seq = NULL WHERE id = 'damaged'";

#[tokio::test]
async fn a_damaged_document_is_refused_alone_and_works_again_once_it_is_mended() {
    let database = Postgres::shared().await.create_database().await;
    let server = start_server(&database.url(), &[]).await;
    let mut client = Client::connect(server.address()).await;
    for document in ["damaged", "sound"] {
        client.set(document, "field", json!("kept")).await;
    }
    let before = client.sync("damaged").await;
    assert!(server.terminate().await.success());
    database
        .execute(
            "UPDATE documents SET snapshot = '\\x00ff17', snapshot_clock = '{}', \
             snapshot_seq = 1 WHERE id = 'damaged'",
        )
        .await;

    let server = start_server(&database.url(), &[]).await;
    let mut client = Client::connect(server.address()).await;
    let edit = client.edit("damaged", "field", json!("new"));
    // The second time over a connection that knows the document already.
    for _ in 0..2 {
        client
            .send(&json!({ "type": "subscribe", "documentId": "damaged", "id": "request" }))
            .await;
        let error = client.expect("a refusal", |message| message["type"] == "error").await;
        assert_eq!(error["details"]["code"], "DOCUMENT_DAMAGED", "{error}");
        assert_eq!(error["details"]["documentId"], "damaged", "{error}");
        let message_id = client.send_edit(&edit).await;
        assert_eq!(client.expect_refusal(&message_id).await, "STORAGE_UNAVAILABLE");

        assert_eq!(client.subscribe("sound").await.fields["field"], "kept");
        client.set("sound", "other", json!(1)).await;
    }

    database.execute(REPAIR).await;
    let after = client.subscribe("damaged").await;
    assert_eq!(after, before);
    let message_id = client.send_edit(&edit).await;
    client.expect_ack(&message_id).await;
    client.expect_change("damaged", "field", &json!("new")).await;
}

#[tokio::test]
async fn edits_of_a_document_that_is_damaged_under_a_server_are_kept_and_cost_no_other() {
    let database = Postgres::shared().await.create_database().await;
    let server = start_server(&database.url(), &["storage.postgresql.lanes=1"]).await;
    let mut client = Client::connect(server.address()).await;
    let mut edits = Vec::new();
    for document in ["damaged", "sound"] {
        edits.push(client.set(document, "field", json!("before")).await);
    }
    // As a row that was put back from a backup without its deltas.
    database.execute("UPDATE documents SET head_seq = 0 WHERE id = 'damaged'").await;
    let edit = client.edit("damaged", "field", json!("after"));
    let message_id = client.send_edit(&edit).await;
    edits.push(client.set("sound", "field", json!("after")).await);
    assert_eq!(client.expect_refusal(&message_id).await, "STORAGE_UNAVAILABLE");

    database.execute("UPDATE documents SET head_seq = 1 WHERE id = 'damaged'").await;
    let message_id = client.send_edit(&edit).await;
    client.expect_ack(&message_id).await;
    edits.push(edit);
    assert_stored_once(&database, &edits).await;
}

#[tokio::test]
async fn a_document_of_a_newer_program_is_there_again_once_this_one_is_upgraded() {
    let database = Postgres::shared().await.create_database().await;
    let server = start_server(&database.url(), &["storage.write_hold_ms=100"]).await;
    let mut client = Client::connect(server.address()).await;
    client.set("doc", "field", json!("kept")).await;
    assert!(server.terminate().await.success());
    let newer = "UPDATE documents SET snapshot = '\\x534b53ff0000000000', \
        snapshot_clock = '{}', snapshot_seq = 1 WHERE id = 'doc'";
    database.execute(newer).await;

    let server = start_server(&database.url(), &["storage.write_hold_ms=100"]).await;
    let mut client = Client::connect(server.address()).await;
    client.send(&json!({ "type": "subscribe", "documentId": "doc", "id": "request" })).await;
    let error = client.expect("a refusal", |message| message["type"] == "error").await;
    assert_eq!(error["details"]["code"], "STORAGE_UNAVAILABLE", "{error}");
    let edit = client.edit("doc", "field", json!("new"));
    let message_id = client.send_edit(&edit).await;
    assert_eq!(client.expect_refusal(&message_id).await, "STORAGE_UNAVAILABLE");
    assert!(server.stderr().contains("newer than this program reads"), "{}", server.stderr());

    let older = "UPDATE documents SET snapshot = NULL, snapshot_clock = NULL, snapshot_seq = NULL";
    database.execute(older).await;
    assert_eq!(client.subscribe("doc").await.fields["field"], "kept");
}

#[tokio::test]
async fn an_edit_whose_data_can_not_be_stored_is_refused_alone_and_named() {
    let database = Postgres::shared().await.create_database().await;
    let server = start_server(&database.url(), &["storage.postgresql.lanes=1"]).await;
    let mut client = Client::connect(server.address()).await;
    let mut edits = vec![client.set("doc", "field", json!("before")).await];
    database
        .execute("ALTER TABLE deltas ADD CHECK (data::text NOT LIKE '%out of the question%')")
        .await;
    let mut sent = Vec::new();
    for number in 0..16 {
        let value = if number == 7 { json!("out of the question") } else { json!(number) };
        let edit = client.edit("doc", &format!("field-{number}"), value);
        sent.push((client.send_edit(&edit).await, edit));
    }
    for (number, (message_id, edit)) in sent.into_iter().enumerate() {
        if number == 7 {
            assert_eq!(client.expect_refusal(&message_id).await, "STORAGE_REFUSED");
        } else {
            client.expect_ack(&message_id).await;
            edits.push(edit);
        }
    }
    let log = server.stderr();
    assert!(log.contains("23514") && log.contains("document.id=doc"), "{log}");
    assert_stored_once(&database, &edits).await;
}

#[tokio::test]
async fn a_document_that_everybody_left_is_there_for_the_next_one() {
    let database = Postgres::shared().await.create_database().await;
    let server = start_server(&database.url(), &[]).await;
    let mut first = Client::connect(server.address()).await;
    first.set("doc", "field", json!("kept")).await;
    let left = first.sync("doc").await;
    first.close().await;
    let mut second = Client::connect(server.address()).await;
    assert_eq!(second.subscribe("doc").await, left);
    second.send(&json!({ "type": "unsubscribe", "documentId": "doc" })).await;
    second.ping().await;
    assert_eq!(second.subscribe("doc").await, left);
}

/// Somebody else's open transaction, which keeps the row of one document locked.
struct Held {
    transaction: tokio_postgres::Client,
}

impl Held {
    async fn lock(database: &Database, document: &str) -> Self {
        let (transaction, connection) =
            tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.expect("connect");
        TaskTracker::new().spawn(connection);
        let sql = format!("BEGIN; SELECT 1 FROM documents WHERE id = '{document}' FOR UPDATE");
        transaction.batch_execute(&sql).await.expect("lock");
        Self { transaction }
    }

    async fn release(self) {
        self.transaction.batch_execute("COMMIT").await.expect("commit");
    }
}

/// Whether a connection waits for the row of a document.
async fn is_waiting(database: &Database) -> bool {
    let waiting = "SELECT 1 FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    !database.rows(waiting).await.is_empty()
}

#[tokio::test]
async fn an_edit_is_acknowledged_once_it_is_stored_whatever_the_next_commit_waits_for() {
    let database = Postgres::shared().await.create_database().await;
    let settings = ["storage.postgresql.lanes=1", "storage.write_hold_ms=60000"];
    let server = start_server(&database.url(), &settings).await;
    let mut client = Client::connect(server.address()).await;
    for document in ["first", "second"] {
        client.set(document, "field", json!("before")).await;
    }
    let (first, second) =
        (Held::lock(&database, "first").await, Held::lock(&database, "second").await);
    let edit = client.edit("first", "field", json!("after"));
    let first_id = client.send_edit(&edit).await;
    until("a commit waits", || async { is_waiting(&database).await.then_some(()) }).await;
    let edit = client.edit("second", "field", json!("after"));
    let second_id = client.send_edit(&edit).await;
    client.ping().await;

    first.release().await;
    client.expect_ack(&first_id).await;
    let log = server.stderr();
    assert!(!log.contains("append failed"), "only after the next commit was given up: {log}");
    second.release().await;
    client.expect_ack(&second_id).await;
}
