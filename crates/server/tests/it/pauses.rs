use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::client::{Client, Options};
use crate::setup::memory_server_command;

const CLIENTS: usize = 40;

/// Stops the server while its clients write, for longer than any of them may be silent.
async fn check_pause(pause: Duration) {
    let settings = ["ws.heartbeat_interval_ms=900", "ws.heartbeat_timeout_ms=1000"];
    let server = memory_server_command(&settings).start().await;
    let ignoring = Options { ignores_pings: true, ..Options::default() };
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::connect_with(server.address(), ignoring).await);
    }
    for client in &mut clients {
        client.ping().await;
    }
    server.pause();
    let mut edits = Vec::new();
    for (number, client) in clients.iter_mut().enumerate() {
        let edit = client.edit("doc", "field", json!(number));
        edits.push(client.send_edit(&edit).await);
    }
    // The length of the pause is what is tested.
    sleep(pause).await;
    server.resume();
    for (client, edit) in clients.iter_mut().zip(&edits) {
        client.expect_ack(edit).await;
        client.ping().await;
    }
}

#[tokio::test]
async fn a_server_that_was_paused_for_a_moment_reads_before_it_calls_anyone_silent() {
    check_pause(Duration::from_millis(1_500)).await;
}

#[tokio::test]
async fn a_server_that_was_paused_for_long_reads_before_it_calls_anyone_silent() {
    check_pause(Duration::from_secs(4)).await;
}
