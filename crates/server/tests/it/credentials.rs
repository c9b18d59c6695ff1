use serde_json::json;
use synckit_testkit::{Database, Postgres};

use crate::client::Client;
use crate::setup::{start_server, until, until_ready_is};
use crate::stored::assert_stored_once;

/// Of the role that the server comes as, by password; others are let in whatever happens.
const ACCESS: &str = "host all app 127.0.0.1/32 scram-sha-256";

const CUT: &str = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
    WHERE usename = 'app'";

const EDITS: usize = 64;

/// A database that the role `app` owns.
async fn owned_database() -> Database {
    let postgres = Postgres::start_private_with_access(&[ACCESS]).await;
    let database = postgres.create_database().await;
    database.execute("CREATE ROLE app LOGIN PASSWORD 'right'").await;
    database.execute(&format!("ALTER DATABASE {} OWNER TO app", database.name())).await;
    database
}

#[tokio::test]
async fn a_password_that_is_rotated_under_a_server_costs_no_edit() {
    let database = owned_database().await;
    let settings = ["storage.write_hold_ms=1000", "storage.postgresql.lanes=1"];
    let server = start_server(&database.url_as("app", "right"), &settings).await;
    let mut client = Client::connect(server.address()).await;
    let mut edits = vec![client.set("doc", "field", json!("before")).await];

    database.execute("ALTER ROLE app PASSWORD 'other'").await;
    database.execute(CUT).await;
    let mut sent = Vec::new();
    for number in 0..EDITS {
        let edit = client.edit("doc", &format!("field-{number}"), json!(number));
        sent.push((client.send_edit(&edit).await, edit));
    }
    for (message_id, _) in &sent {
        assert_eq!(client.expect_refusal(message_id).await, "STORAGE_UNAVAILABLE");
    }
    let ready = until_ready_is(&server, 503).await;
    let cause = ready.body["results"]["postgresql"]["description"].as_str().unwrap_or_default();
    assert!(cause.contains("credentials refused"), "{ready:?}");
    // Told once, however many edits and tries.
    let told = || server.stderr().matches("the store can't do its work").count();
    until("it is told", async || (told() > 0).then_some(())).await;
    assert_eq!(told(), 1);

    database.execute("ALTER ROLE app PASSWORD 'right'").await;
    until_ready_is(&server, 200).await;
    for (_, edit) in sent {
        let message_id = client.send_edit(&edit).await;
        client.expect_ack(&message_id).await;
        edits.push(edit);
    }
    assert_stored_once(&database, &edits).await;
}

#[tokio::test]
async fn a_right_that_is_revoked_under_a_server_costs_no_edit() {
    let database = owned_database().await;
    let server = start_server(&database.url_as("app", "right"), &[]).await;
    let mut client = Client::connect(server.address()).await;
    let mut edits = vec![client.set("doc", "field", json!("before")).await];

    database.execute("REVOKE INSERT ON deltas FROM app").await;
    let edit = client.edit("doc", "field", json!("after"));
    let message_id = client.send_edit(&edit).await;
    // Granted again within the time that an edit is held: its client sees nothing of all this.
    until("the server tries", || async {
        server.stderr().contains("permission missing").then_some(())
    })
    .await;
    database.execute("GRANT INSERT ON deltas TO app").await;
    client.expect_ack(&message_id).await;
    edits.push(edit);
    assert_stored_once(&database, &edits).await;
}
