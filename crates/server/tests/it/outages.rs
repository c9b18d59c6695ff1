use std::time::Duration;

use serde_json::json;
use synckit_testkit::{FaultProxy, Postgres, ServerProcess};
use tokio::time::Instant;

use crate::client::Client;
use crate::load::{Load, Plan, Writer};
use crate::messages::Edit;
use crate::setup::{http_get, start_server, until_ready_is};
use crate::stored::{acknowledged, assert_shows_all, assert_stored_once, fresh_states};

const WRITE_HOLD: Duration = Duration::from_millis(1_000);
const WRITE_HOLD_SETTING: &str = "storage.write_hold_ms=1000";

/// What a server without its database owes its clients; returns the edit that it refused.
async fn check_without_database(server: &ServerProcess, probe: &mut Client, load: &Load) -> Edit {
    let ready = until_ready_is(server, 503).await;
    let check = &ready.body["results"]["postgresql"];
    assert_eq!(check["status"], "Unhealthy", "{ready:?}");
    assert!(check["description"].as_str().is_some_and(|cause| !cause.is_empty()), "{ready:?}");
    assert_eq!(http_get(server.address(), "/health/live").await.status, 200);

    let mut late = Client::connect(server.address()).await;
    let state = late.subscribe("doc-0").await;
    assert_eq!(state.fields["probe"], "before", "an open document can be read: {state:?}");

    let acks = load.acks();
    let edit = probe.edit("doc-0", "probe", json!("meanwhile"));
    let sent = Instant::now();
    let message_id = probe.send_edit(&edit).await;
    assert_eq!(probe.expect_refusal(&message_id).await, "STORAGE_UNAVAILABLE");
    assert!(sent.elapsed() >= WRITE_HOLD, "refused after {:?} only", sent.elapsed());
    assert_eq!(load.acks(), acks, "something was acknowledged without a database");
    edit
}

#[derive(Debug, Clone, Copy)]
enum End {
    Killed,
    Stopped,
}

#[tokio::test]
async fn a_database_that_is_gone_costs_its_writers_time_and_no_edit() {
    let postgres = Postgres::start_private().await;
    let database = postgres.create_database().await;
    let settings = [WRITE_HOLD_SETTING, "storage.history=forever"];
    let server = start_server(&database.url(), &settings).await;
    let mut probe = Client::connect(server.address()).await;
    let mut edits = vec![probe.set("doc-0", "probe", json!("before")).await];
    let load = Load::start(Writer::several(4, server.address(), &Plan::default()).await);

    for end in [End::Killed, End::Stopped] {
        load.more_acks(200).await;
        match end {
            End::Killed => postgres.kill9().await,
            End::Stopped => postgres.stop().await,
        }
        let refused = check_without_database(&server, &mut probe, &load).await;
        postgres.start_again().await;
        until_ready_is(&server, 200).await;
        let message_id = probe.send_edit(&refused).await;
        probe.expect_ack(&message_id).await;
        edits.push(refused);
        edits.push(probe.set("doc-0", "probe", json!("before")).await);
    }
    load.more_acks(200).await;

    let writers = load.finish().await;
    assert!(writers.iter().any(|writer| writer.refusals > 0), "no load while it was gone");
    edits.extend(acknowledged(&writers));
    assert_stored_once(&database, &edits).await;
    for document in ["doc-0", "doc-1"] {
        let state = probe.sync(document).await;
        assert_shows_all(&state, document, &writers);
        assert_eq!(fresh_states(&database, &[document]).await, [state]);
    }
}

#[tokio::test]
async fn a_database_that_hangs_is_one_that_is_gone() {
    let database = Postgres::shared().await.create_database().await;
    let proxy = FaultProxy::start(database.server_address()).await;
    let url = database.url_at_port(proxy.port());
    let server = start_server(&url, &[WRITE_HOLD_SETTING, "storage.history=forever"]).await;
    let mut probe = Client::connect(server.address()).await;
    let mut edits = vec![probe.set("doc-0", "probe", json!("before")).await];
    let load = Load::start(Writer::several(2, server.address(), &Plan::default()).await);
    load.more_acks(100).await;

    proxy.stall();
    let refused = check_without_database(&server, &mut probe, &load).await;
    // The statements that the server has given up reach the database now.
    proxy.heal();
    until_ready_is(&server, 200).await;
    let message_id = probe.send_edit(&refused).await;
    probe.expect_ack(&message_id).await;
    edits.push(refused);
    load.more_acks(100).await;

    let writers = load.finish().await;
    edits.extend(acknowledged(&writers));
    assert_stored_once(&database, &edits).await;
    let state = probe.until_it_shows("doc-0", "probe", &json!("meanwhile")).await;
    assert_eq!(fresh_states(&database, &["doc-0"]).await, [state]);
}
