use std::time::Duration;

use serde_json::json;
use synckit_client::websocket::Closed;
use synckit_testkit::{FaultProxy, Postgres};
use tokio::time::Instant;

use crate::client::{Client, Options};
use crate::load::{Load, Plan, Writer};
use crate::setup::start_server;
use crate::stored::{acknowledged, assert_stored_once};

const GOING_AWAY: u16 = 1001;

/// From the server's deadline to the end of its process, on a busy machine.
const GRACE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_stopping_server_acknowledges_what_it_stored_and_stores_nothing_else() {
    let database = Postgres::shared().await.create_database().await;
    let server = start_server(&database.url(), &[]).await;
    let plan = Plan { window: 32, ..Plan::default() };
    let load = Load::start(Writer::several(4, server.address(), &plan).await);
    load.more_acks(300).await;

    server.signal_terminate();
    let (writers, ends): (Vec<_>, Vec<Option<Closed>>) = load.ended().await.into_iter().unzip();
    for end in ends {
        let end = end.expect("the connection ended");
        assert_eq!(end.code, Some(GOING_AWAY), "{end:?}");
    }
    assert_eq!(server.exited().await.code(), Some(0));
    assert_stored_once(&database, &acknowledged(&writers)).await;
}

#[tokio::test]
async fn edits_taken_in_before_the_signal_are_acknowledged_before_the_goodbye() {
    let database = Postgres::shared().await.create_database().await;
    let proxy = FaultProxy::start(database.server_address()).await;
    let server = start_server(&database.url_at_port(proxy.port()), &[]).await;
    let mut reader = Client::connect(server.address()).await;
    reader.subscribe("doc").await;
    let mut writer = Client::connect(server.address()).await;
    let mut edits = vec![writer.set("doc", "field", json!("first")).await];

    proxy.delay_answers(Duration::from_millis(700));
    let mut message_ids = Vec::new();
    for number in 0..20 {
        let edit = writer.edit("doc", "field", json!(number));
        message_ids.push(writer.send_edit(&edit).await);
        edits.push(edit);
    }
    writer.ping().await;
    server.signal_terminate();

    let closed = writer.until_closed().await;
    assert_eq!(closed.code, Some(GOING_AWAY), "{closed:?}");
    for message_id in &message_ids {
        // It came before the goodbye, or this would fail: nothing comes after.
        writer.expect_ack(message_id).await;
    }
    let closed = reader.until_closed().await;
    assert_eq!(closed.code, Some(GOING_AWAY), "{closed:?}");
    reader.expect_change("doc", "field", &json!(19)).await;
    assert_eq!(server.exited().await.code(), Some(0));
    assert_stored_once(&database, &edits).await;
}

#[tokio::test]
async fn a_client_that_never_reads_holds_up_a_stop_no_longer_than_its_deadline() {
    let deadline = Duration::from_millis(1_500);
    let database = Postgres::shared().await.create_database().await;
    let settings = ["shutdown.deadline_ms=1500", "storage.history=forever"];
    let server = start_server(&database.url(), &settings).await;
    let options = Options { receive_buffer: Some(4_096), ..Options::default() };
    let mut deaf = Client::connect_with(server.address(), options).await;
    deaf.subscribe("doc-0").await;
    // Far more than the kernel holds for it.
    let plan = Plan { documents: &["doc-0"], padding: 20_000, edits_max: 600, ..Plan::default() };
    let writers = Load::start(Writer::several(1, server.address(), &plan).await).ended().await;
    let writers = Vec::from_iter(writers.into_iter().map(|(writer, _)| writer));

    let signalled = Instant::now();
    server.signal_terminate();
    let status = server.exited().await;
    let took = signalled.elapsed();
    assert!(took < deadline + GRACE, "the server ended after {took:?}");
    // It says that not everybody was told; what was acknowledged is stored all the same.
    assert_eq!(status.code(), Some(1), "{status}");
    assert_stored_once(&database, &acknowledged(&writers)).await;
    drop(deaf);
}

#[tokio::test]
async fn a_stop_without_a_database_says_goodbye_and_acknowledges_nothing() {
    let deadline = Duration::from_millis(1_500);
    let database = Postgres::shared().await.create_database().await;
    let proxy = FaultProxy::start(database.server_address()).await;
    let url = database.url_at_port(proxy.port());
    let settings = ["shutdown.deadline_ms=1500", "ws.max_connections_per_ip=0"];
    let server = start_server(&url, &settings).await;
    let mut others = Vec::new();
    for _ in 0..100 {
        others.push(Client::connect(server.address()).await);
    }
    let mut writer = Client::connect(server.address()).await;
    let stored = writer.set("doc", "field", json!("stored")).await;
    proxy.stall();
    let edit = writer.edit("doc", "field", json!("open"));
    let message_id = writer.send_edit(&edit).await;
    writer.ping().await;

    let signalled = Instant::now();
    server.signal_terminate();
    let closed = writer.until_closed().await;
    assert_eq!(closed.code, Some(GOING_AWAY), "{closed:?}");
    let received = writer.take_unread();
    assert!(!received.iter().any(|message| message["messageId"] == *message_id), "{received:?}");
    for other in &mut others {
        let closed = other.until_closed().await;
        assert_eq!(closed.code, Some(GOING_AWAY), "{closed:?}");
    }
    assert_eq!(server.exited().await.code(), Some(1));
    let took = signalled.elapsed();
    assert!(took < deadline + GRACE, "the server ended after {took:?}");

    // What the stopped server had sent reaches the database now, if it ever does.
    proxy.heal();
    let server = start_server(&url, &[]).await;
    let mut writer = Client::connect(server.address()).await;
    let message_id = writer.send_edit(&edit).await;
    writer.expect_ack(&message_id).await;
    assert_stored_once(&database, &[stored, edit]).await;
}
