use std::time::Duration;

use serde_json::json;
use synckit_client::handshake::TurnedAway;
use synckit_testkit::ServerProcess;
use tokio::time::Instant;

use crate::client::{Client, Options};
use crate::hostile::TRY_AGAIN_LATER;
use crate::setup::{http_get, memory_server_command, until};

async fn until_open(server: &ServerProcess, connections: u64) {
    until(&format!("{connections} connections"), || async {
        let health = http_get(server.address(), "/health").await;
        (health.body["connections"]["totalConnections"] == connections).then_some(())
    })
    .await;
}

async fn turned_away(server: &ServerProcess, options: Options) -> TurnedAway {
    match Client::try_connect(server.address(), options).await {
        Ok(_) => panic!("one too many was let in"),
        Err(refused) => refused,
    }
}

#[tokio::test]
async fn the_third_connection_of_an_address_gets_429_until_one_of_the_others_ends() {
    let server = memory_server_command(&["ws.max_connections_per_ip=2"]).start().await;
    let options = Options::default();
    let first = Client::connect(server.address()).await;
    let mut second = Client::connect(server.address()).await;
    let refused = turned_away(&server, options).await;
    assert_eq!(refused.status, 429);
    assert!(refused.retry_after.is_some(), "{refused}");

    let elsewhere = Options { from: Some([127, 0, 0, 2]), ..options };
    let mut other = Client::connect_with(server.address(), elsewhere).await;
    other.ping().await;
    second.ping().await;

    first.close().await;
    until_open(&server, 2).await;
    Client::connect(server.address()).await.ping().await;
    until_open(&server, 2).await;
    // Vanished, not closed: its place is given back as well.
    drop(second);
    until_open(&server, 1).await;
    let _both = [Client::connect(server.address()).await, Client::connect(server.address()).await];
    assert_eq!(turned_away(&server, options).await.status, 429);
}

#[tokio::test]
async fn one_connection_too_many_gets_503_until_another_ends() {
    let server = memory_server_command(&["ws.max_connections=2"]).start().await;
    let elsewhere = Options { from: Some([127, 0, 0, 2]), ..Options::default() };
    let mut first = Client::connect(server.address()).await;
    let second = Client::connect_with(server.address(), elsewhere).await;
    for options in [Options::default(), elsewhere] {
        let refused = turned_away(&server, options).await;
        assert_eq!(refused.status, 503);
        assert!(refused.retry_after.is_some(), "{refused}");
    }
    first.ping().await;

    second.close().await;
    until_open(&server, 1).await;
    Client::connect(server.address()).await.ping().await;
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_dropped_and_one_that_does_stays() {
    let timeout = Duration::from_millis(1_500);
    let settings = ["ws.heartbeat_interval_ms=100", "ws.heartbeat_timeout_ms=1500"];
    let server = memory_server_command(&settings).start().await;
    let mut alive = Client::connect(server.address()).await;
    alive.subscribe("doc").await;
    let ignoring = Options { ignores_pings: true, ..Options::default() };
    let mut silent = Client::connect_with(server.address(), ignoring).await;
    silent.subscribe("doc").await;

    let silent_since = Instant::now();
    let ends = async {
        let closed = silent.until_closed().await;
        assert_eq!(closed.code, Some(TRY_AGAIN_LATER), "{closed:?}");
        let waited = silent_since.elapsed();
        assert!(waited >= timeout - Duration::from_millis(100), "dropped after {waited:?}");
    };
    // Twice the timeout, told by the server's own clock.
    tokio::join!(ends, alive.until_pinged(30));
    alive.set("doc", "field", json!(1)).await;
    until_open(&server, 1).await;
}
