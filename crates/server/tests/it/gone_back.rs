use std::time::Duration;

use serde_json::{Value, json};
use synckit_testkit::{Database, FaultProxy, Postgres, ServerProcess};
use tokio::time::Instant;

use crate::client::{Client, PATIENCE};
use crate::messages::Edit;
use crate::setup::{start_server, until};
use crate::stored::assert_stored_once;

/// From the moment in which the store can be written again until everyone was told: half a second
/// to look, and what a machine that compiles meanwhile needs.
const TOLD_WITHIN: Duration = Duration::from_secs(4);

/// A primary behind one address, a standby that streams from it, and a server that knows neither.
struct Pair {
    primary: Postgres,
    standby: Postgres,
    database: Database,
    front: FaultProxy,
    server: ServerProcess,
}

impl Pair {
    async fn start(settings: &[&str]) -> Self {
        let primary = Postgres::start_private().await;
        let database = primary.create_database().await;
        let front = FaultProxy::start(primary.server_address()).await;
        let server = start_server(&database.url_at_port(front.port()), settings).await;
        let standby = primary.start_standby("standby").await;
        Self { primary, standby, database, front, server }
    }

    /// From now on the standby misses what is committed.
    async fn part(&self) {
        self.standby.caught_up_with(&self.primary).await;
        self.standby.stop_receiving().await;
    }

    /// The primary dies, the standby takes over; since when it can be written, and the database as
    /// it has it.
    async fn fail_over(&self) -> (Instant, Database) {
        self.primary.kill9().await;
        self.standby.promote().await;
        self.front.lead_to(self.standby.server_address());
        self.front.cut();
        (Instant::now(), self.database.on(&self.standby))
    }
}

/// The next state of a document that nobody asked for.
async fn told_state(client: &mut Client, document: &str) -> Value {
    let told = client
        .expect("a state that nobody asked for", |message| {
            message["type"] == "sync_response"
                && message["requestId"] == ""
                && message["documentId"] == *document
        })
        .await;
    told["state"].clone()
}

#[tokio::test]
async fn what_a_standby_missed_is_stored_again_when_it_takes_over_and_nothing_is_lost() {
    let pair = Pair::start(&[]).await;
    let mut writer = Client::connect(pair.server.address()).await;
    let mut reader = Client::connect(pair.server.address()).await;
    reader.subscribe("doc").await;
    reader.subscribe("young").await;
    let mut edits = vec![writer.set("doc", "kept", json!(1)).await];
    pair.part().await;
    for number in 0..40 {
        edits.push(writer.set("doc", &format!("missed-{number}"), json!(number)).await);
    }
    edits.push(writer.set("young", "missed", json!("whole document")).await);

    let (since, there) = pair.fail_over().await;
    // What the standby has to say comes first, then what it lacked.
    assert_eq!(told_state(&mut reader, "doc").await, json!({ "kept": 1 }));
    reader.until_it_shows("doc", "missed-39", &json!(39)).await;
    reader.until_it_shows("young", "missed", &json!("whole document")).await;
    let took = since.elapsed();
    assert!(took < TOLD_WITHIN, "it took {took:?}");

    edits.push(writer.set("doc", "after", json!(2)).await);
    reader.expect_change("doc", "after", &json!(2)).await;
    assert_stored_once(&there, &edits).await;
    until("it is told what was stored again", async || {
        let log = pair.server.stderr();
        let is_told = log.contains("another server of the database took over");
        (is_told && log.contains("stored_again=40")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_edit_that_follows_a_takeover_at_once_is_shown_though_the_numbers_come_again() {
    let pair = Pair::start(&["storage.failover_keep_bytes=0"]).await;
    let mut writer = Client::connect(pair.server.address()).await;
    let mut reader = Client::connect(pair.server.address()).await;
    reader.subscribe("doc").await;
    let mut edits = vec![writer.set("doc", "kept", json!(1)).await];
    pair.part().await;
    for number in 0..5 {
        writer.set("doc", "lost", json!(number)).await;
    }
    let (_, there) = pair.fail_over().await;
    // As many as were lost, so that the heads are the same.
    for number in 0..5 {
        edits.push(set_in_time(&mut writer, "doc", &format!("new-{number}"), json!(number)).await);
    }
    for number in 0..5 {
        reader.until_it_shows("doc", &format!("new-{number}"), &json!(number)).await;
    }
    assert_eq!(reader.sync("doc").await.fields.get("lost"), None, "nothing was kept to bring back");
    assert_stored_once(&there, &edits).await;
}

/// Writes a field, again as long as the store is away.
async fn set_in_time(client: &mut Client, document: &str, field: &str, value: Value) -> Edit {
    let edit = client.edit(document, field, value);
    let end = Instant::now() + PATIENCE;
    loop {
        let message_id = client.send_edit(&edit).await;
        let answer = client
            .expect("an answer", |message| {
                message["messageId"] == *message_id
                    || message["details"]["messageId"] == *message_id
            })
            .await;
        if answer["type"] == "ack" {
            return edit;
        }
        assert!(Instant::now() < end, "not acknowledged within {PATIENCE:?}: {answer}");
    }
}

#[tokio::test]
async fn a_backup_that_is_put_back_under_a_server_is_what_everyone_sees() {
    let database = Postgres::shared().await.create_database().await;
    let server = start_server(&database.url(), &[]).await;
    let mut writer = Client::connect(server.address()).await;
    let mut reader = Client::connect(server.address()).await;
    reader.subscribe("doc").await;
    let mut edits = vec![writer.set("doc", "kept", json!(1)).await];
    database
        .execute(
            "CREATE TABLE documents_backup AS TABLE documents; \
             CREATE TABLE deltas_backup AS TABLE deltas",
        )
        .await;
    for number in 0..5 {
        writer.set("doc", "later", json!(number)).await;
    }
    database
        .execute(
            "BEGIN; TRUNCATE documents, deltas; \
             INSERT INTO documents SELECT * FROM documents_backup; \
             INSERT INTO deltas SELECT * FROM deltas_backup; COMMIT",
        )
        .await;
    let since = Instant::now();
    assert_eq!(told_state(&mut reader, "doc").await, json!({ "kept": 1 }));
    assert!(since.elapsed() < TOLD_WITHIN, "it took {:?}", since.elapsed());

    edits.push(writer.set("doc", "after", json!(2)).await);
    reader.expect_change("doc", "after", &json!(2)).await;
    assert_eq!(reader.sync("doc").await.fields, json!({ "kept": 1, "after": 2 }));
    assert_stored_once(&database, &edits).await;
}

#[tokio::test]
async fn the_command_restored_has_running_servers_read_everything_anew() {
    let database = Postgres::shared().await.create_database().await;
    let server = start_server(&database.url(), &[]).await;
    let mut writer = Client::connect(server.address()).await;
    let mut reader = Client::connect(server.address()).await;
    reader.subscribe("doc").await;
    writer.set("doc", "field", json!(1)).await;
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_synckit-server"))
        .arg("restored")
        .env("DATABASE_URL", database.url())
        .output()
        .await
        .expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(told_state(&mut reader, "doc").await, json!({ "field": 1 }));
    writer.set("doc", "field", json!(2)).await;
    reader.expect_change("doc", "field", &json!(2)).await;
}
