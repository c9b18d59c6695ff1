use std::collections::BTreeMap;

use serde_json::json;
use synckit_testkit::{Postgres, ServerProcess};

use crate::client::{Client, Options};
use crate::hostile::TRY_AGAIN_LATER;
use crate::load::{Load, Plan, Writer};
use crate::setup::{http_get, memory_server_command, start_server, until};
use crate::stored::assert_shows_all;

/// The most memory that the server has had at a time.
fn memory_peak_bytes(server: &ServerProcess) -> u64 {
    let path = format!("/proc/{}/status", server.pid());
    let status = std::fs::read_to_string(path).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes.and_then(|number| number.parse::<u64>().ok()).expect("a peak in kB") * 1_024
}

/// Lets the writers make so many more edits each.
async fn write(mut writers: Vec<Writer>, edits: u64) -> Vec<Writer> {
    for writer in &mut writers {
        writer.plan.edits_max += edits;
    }
    let ended = Load::start(writers).ended().await;
    let answered = |(writer, closed): (Writer, _)| {
        assert_eq!(closed, None, "a writer is not made to wait for a reader");
        writer
    };
    ended.into_iter().map(answered).collect()
}

#[tokio::test]
async fn a_client_that_reads_late_costs_little_memory_and_then_gets_the_latest_values() {
    let database = Postgres::shared().await.create_database().await;
    // No snapshots: what they take for a moment depends on when.
    let settings = [
        "ws.max_outbox_bytes=1MiB",
        "storage.snapshot_deltas=1000000",
        "storage.snapshot_bytes=1000MB",
    ];
    let server = start_server(&database.url(), &settings).await;
    // As many fields as are on their way at a time: each change is sent to everybody.
    let plan = Plan { documents: &["doc"], fields: 64, window: 64, padding: 8_000, edits_max: 0 };
    let writers = Writer::several(2, server.address(), &plan).await;
    // The same work without the slow reader first: its peak, buffers of all kinds included, moves
    // by more than an outbox from one run of the machine to the next.
    let writers = write(writers, 5_000).await;
    let before = memory_peak_bytes(&server);

    let options = Options { receive_buffer: Some(4_096), ..Options::default() };
    let mut slow = Client::connect_with(server.address(), options).await;
    slow.subscribe("doc").await;
    let writers = write(writers, 5_000).await;
    let grown = memory_peak_bytes(&server).saturating_sub(before);
    // Peaks of one work differ by some megabytes; without a bound it would hold all that was sent.
    assert!(grown < 40 << 20, "the server needed {grown} bytes more for 80 MB of deltas");

    // It was told of 10,000 edits by the values that they left, each with a stamp that is not older
    // than what it was told before.
    let mut stamps = BTreeMap::new();
    let mut values = BTreeMap::new();
    let wanted = Vec::from_iter(writers.iter().flat_map(|writer| writer.fields_of("doc")));
    while wanted.iter().any(|(field, value)| values.get(*field) != Some(*value)) {
        let message = slow.expect("a delta", |message| message["type"] == "delta").await;
        let field = message["field"].as_str().expect("a field has a name").to_owned();
        let stamp = message["clock"]["server"].as_u64().expect("a value has a stamp");
        let before = stamps.insert(field.clone(), stamp).unwrap_or_default();
        assert!(stamp >= before, "{field} at {stamp} after {before}");
        values.insert(field, message["value"].clone());
    }
    let writers = write(writers, 1).await;
    slow.ping().await;
    let mut back = Client::connect(server.address()).await;
    let state = back.subscribe("doc").await;
    assert_shows_all(&state, "doc", &writers);
}

#[tokio::test]
async fn a_client_that_never_reads_again_is_dropped_when_its_time_is_over() {
    let settings = ["ws.heartbeat_interval_ms=100", "ws.heartbeat_timeout_ms=1500"];
    let server = memory_server_command(&settings).start().await;
    let options = Options { receive_buffer: Some(4_096), ..Options::default() };
    let mut deaf = Client::connect_with(server.address(), options).await;
    deaf.subscribe("doc").await;
    // Far more than the kernel holds for it.
    let plan = Plan { documents: &["doc"], padding: 20_000, edits_max: 0, ..Plan::default() };
    let writers = Writer::several(1, server.address(), &plan).await;
    let writers = write(writers, 600).await;
    drop(writers);
    until("no connection is left", || async {
        let health = http_get(server.address(), "/health").await;
        (health.body["connections"]["totalConnections"] == 0).then_some(())
    })
    .await;
    drop(deaf);
}

#[tokio::test]
async fn a_client_that_asks_for_more_than_it_reads_is_told_to_come_back() {
    let server = memory_server_command(&["ws.max_outbox_bytes=64KiB"]).start().await;
    let options = Options { receive_buffer: Some(4_096), ..Options::default() };
    let mut greedy = Client::connect_with(server.address(), options).await;
    greedy.set("doc", "field", json!("x".repeat(900_000))).await;
    // 100 MB of answers: far more than the kernel holds for it.
    for _ in 0..60 {
        greedy.send_text(r#"{"type":"subscribe","documentId":"doc"}"#).await;
    }
    let closed = greedy.until_closed().await;
    assert_eq!(closed.code, Some(TRY_AGAIN_LATER), "{closed:?}");
    Client::connect(server.address()).await.subscribe("doc").await;
}
