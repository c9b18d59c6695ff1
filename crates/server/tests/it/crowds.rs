use std::time::Duration;

use serde_json::json;
use synckit_testkit::{Database, FaultProxy, Postgres};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::Client;
use crate::setup::{http_get, start_server, until};
use crate::stored::assert_stored_once;

/// Edits of each document that is opened.
const TAIL: usize = 900;

/// Documents that are opened at once.
const CROWD: usize = 200;

const CLIENTS: usize = 20;

/// How soon an edit is acknowledged meanwhile.
const ACK_WITHIN: Duration = Duration::from_millis(500);

/// Makes documents as alike as copies.
async fn copy(database: &Database, document: &str, copies: usize) {
    let head = format!(
        "INSERT INTO documents (id, head_seq) SELECT '{document}-' || copy, head_seq \
        FROM documents, generate_series(1, {copies}) AS copy WHERE id = '{document}'"
    );
    let deltas = format!(
        "INSERT INTO deltas (document_id, seq, id, client_id, data, vector_clock, timestamp) \
        SELECT '{document}-' || copy, seq, id, client_id, data, vector_clock, timestamp \
        FROM deltas, generate_series(1, {copies}) AS copy WHERE document_id = '{document}'"
    );
    database.execute(&format!("{head}; {deltas}")).await;
}

async fn write(client: &mut Client, document: &str, edits: usize) {
    let mut sent = Vec::new();
    for number in 0..edits {
        let edit = client.edit(document, &format!("field-{}", number % 50), json!(number));
        sent.push(client.send_edit(&edit).await);
    }
    for message_id in sent {
        client.expect_ack(&message_id).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_open_documents_keep_nobody_from_writing() {
    let database = Postgres::shared().await.create_database().await;
    let settings =
        ["storage.postgresql.pool_max=4", "ws.max_connections_per_ip=0", "storage.history=forever"];
    let server = start_server(&database.url(), &settings).await;
    let mut writer = Client::connect(server.address()).await;
    write(&mut writer, "doc", TAIL).await;
    copy(&database, "doc", CROWD).await;

    let mut openings = JoinSet::new();
    for part in 0..CLIENTS {
        let mut client = Client::connect(server.address()).await;
        openings.spawn(async move {
            for number in (1 + part..=CROWD).step_by(CLIENTS) {
                client.ask(&format!("doc-{number}")).await;
            }
            for number in (1 + part..=CROWD).step_by(CLIENTS) {
                client.expect_state(&format!("doc-{number}")).await;
            }
        });
    }
    let (mut worst, mut acks) = (Duration::ZERO, 0);
    while acks == 0 || !openings.is_empty() {
        let sent = Instant::now();
        writer.set("doc", "meanwhile", json!(acks)).await;
        worst = worst.max(sent.elapsed());
        acks += 1;
        let ready = http_get(server.address(), "/health/ready").await;
        assert_eq!(ready.status, 200, "{ready:?}");
        while let Some(opened) = openings.try_join_next() {
            opened.expect("all documents open");
        }
    }
    assert!(worst < ACK_WITHIN, "an edit was acknowledged after {worst:?}");
    println!("{CROWD} documents: the slowest of {acks} acknowledgements took {worst:?}");
}

#[tokio::test]
async fn a_document_that_everybody_left_leaves_a_snapshot_of_a_tail_that_is_worth_it() {
    let database = Postgres::shared().await.create_database().await;
    // Else it stays in memory longer, for what a failover might lose.
    let server = start_server(&database.url(), &["storage.failover_keep_bytes=0"]).await;
    let mut client = Client::connect(server.address()).await;
    write(&mut client, "long", 60).await;
    write(&mut client, "short", 20).await;
    drop(client);
    let covered = async |document: &str| {
        let sql =
            format!("SELECT coalesce(snapshot_seq, 0) FROM documents WHERE id = '{document}'");
        database.rows(&sql).await[0][0].clone()
    };
    // A document stays in memory for half a minute.
    for _ in 0..2 {
        let left = async || (covered("long").await == "60").then_some(());
        if tokio::time::timeout(Duration::from_secs(24), until("a snapshot", left)).await.is_ok() {
            break;
        }
    }
    assert_eq!(covered("long").await, "60");
    assert_eq!(covered("short").await, "0");
}

const HOLD: Duration = Duration::from_secs(1);

/// However deep it is queued, and whether its document was open or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_edit_is_answered_in_time_while_the_database_hangs() {
    let database = Postgres::shared().await.create_database().await;
    let proxy = FaultProxy::start(database.server_address()).await;
    let settings = ["storage.write_hold_ms=1000", "ws.max_connections_per_ip=0"];
    let server = start_server(&database.url_at_port(proxy.port()), &settings).await;
    let mut clients = Vec::new();
    for number in 0..16 {
        let mut client = Client::connect(server.address()).await;
        if number % 2 == 0 {
            client.set(&format!("doc-{number}"), "field", json!("before")).await;
        }
        clients.push(client);
    }
    proxy.stall();
    let mut writers = JoinSet::new();
    for (number, mut client) in clients.into_iter().enumerate() {
        writers.spawn(async move {
            let document = format!("doc-{number}");
            let mut sent = Vec::new();
            for edit in 0..400 {
                let edit = client.edit(&document, "field", json!(edit));
                sent.push((Instant::now(), client.send_edit(&edit).await));
            }
            let mut worst = Duration::ZERO;
            for (at, message_id) in sent {
                assert_eq!(client.expect_refusal(&message_id).await, "STORAGE_UNAVAILABLE");
                assert!(at.elapsed() >= HOLD, "held for {:?} only", at.elapsed());
                worst = worst.max(at.elapsed());
            }
            (client, worst)
        });
    }
    let mut clients = Vec::new();
    let mut worst = Duration::ZERO;
    while let Some(written) = writers.join_next().await {
        let (client, waited) = written.expect("a writer");
        worst = worst.max(waited);
        clients.push(client);
    }
    assert!(worst < HOLD + Duration::from_secs(1), "an edit was answered after {worst:?}");
    println!("the slowest answer came after {worst:?}");

    proxy.heal();
    let healed = Instant::now();
    for client in &mut clients {
        while !{
            let edit = client.edit("after", "field", json!("after"));
            let message_id = client.send_edit(&edit).await;
            client.is_stored(&message_id).await
        } {}
    }
    assert!(healed.elapsed() < Duration::from_secs(5), "well after {:?}", healed.elapsed());
}

/// Three quarters of a mebibyte, where a mebibyte may be under way.
const LARGE: usize = 768 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_edits_wait_for_each_other_and_none_is_refused() {
    let database = Postgres::shared().await.create_database().await;
    let settings = ["storage.in_flight_bytes=1MiB", "storage.history=forever"];
    let server = start_server(&database.url(), &settings).await;
    let mut writers = JoinSet::new();
    for number in 0..4 {
        let mut client = Client::connect(server.address()).await;
        writers.spawn(async move {
            let (document, text) = (format!("doc-{number}"), "x".repeat(LARGE));
            let mut edits = Vec::new();
            for _ in 0..4 {
                let edit = client.edit(&document, "field", json!(text));
                edits.push((client.send_edit(&edit).await, edit));
            }
            for (message_id, _) in &edits {
                client.expect_ack(message_id).await;
            }
            edits.into_iter().map(|(_, edit)| edit).collect::<Vec<_>>()
        });
    }
    let mut edits = Vec::new();
    while let Some(written) = writers.join_next().await {
        edits.extend(written.expect("a writer"));
    }
    assert_stored_once(&database, &edits).await;
}
