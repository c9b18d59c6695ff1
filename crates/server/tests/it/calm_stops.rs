use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::client::{Client, Options, PATIENCE};
use crate::setup::{http_get, memory_server_command, until_ready_is};

/// From the signal to the end of a server that waits for nobody, on a busy machine: less than the
/// first share of its deadline.
const AT_ONCE: Duration = Duration::from_millis(2_500);

#[tokio::test]
async fn a_server_that_is_asked_to_stop_says_so_before_it_turns_anybody_away() {
    let delay = Duration::from_millis(1_500);
    let server = memory_server_command(&["shutdown.delay_ms=1500"]).start().await;
    let mut before = Client::connect(server.address()).await;
    let signalled = Instant::now();
    server.signal_terminate();
    let ready = until_ready_is(&server, 503).await;
    assert_eq!(ready.body["results"]["server"]["description"], "shutting down");
    assert_eq!(http_get(server.address(), "/health/live").await.status, 200);
    let mut late = Client::connect(server.address()).await;
    for client in [&mut before, &mut late] {
        client.set("doc", "field", json!("in time")).await;
    }
    assert!(signalled.elapsed() < delay, "the machine is too slow for this test");
    for client in [&mut before, &mut late] {
        assert_eq!(client.until_closed().await.code, Some(1001));
    }
    let took = signalled.elapsed();
    assert!(took >= delay && took < delay + AT_ONCE, "closed after {took:?}");
    assert_eq!(server.exited().await.code(), Some(0));
}

#[tokio::test]
async fn unfinished_http_requests_hold_up_no_stop() {
    let server = memory_server_command(&[]).start().await;
    let mut streams = Vec::new();
    let health = format!("GET /health HTTP/1.1\r\nHost: {}\r\n\r\n", server.address());
    for said in ["", "GET /hea", "GET /health HTTP/1.1\r\nHost: x\r\n", health.as_str()] {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    // The last one has its answer, and is kept for another.
    let mut answer = [0; 12];
    streams[3].read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    // The others have reached the server by the time that it has answered this.
    Client::connect(server.address()).await.ping().await;

    let signalled = Instant::now();
    server.signal_terminate();
    for mut stream in streams {
        let mut rest = Vec::new();
        // Reset, or ended: in any case at once.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is closed");
        assert!(signalled.elapsed() < AT_ONCE, "closed after {:?}", signalled.elapsed());
    }
    assert_eq!(server.exited().await.code(), Some(0));
    assert!(signalled.elapsed() < AT_ONCE, "it ended after {:?}", signalled.elapsed());
}

#[tokio::test]
async fn many_connections_are_closed_one_after_the_other() {
    const CLIENTS: u32 = 300;
    let server = memory_server_command(&["ws.max_connections_per_ip=0"]).start().await;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let mut client = Client::connect_with(server.address(), Options::default()).await;
        client.subscribe("doc").await;
        clients.spawn(async move {
            let closed = client.until_closed().await;
            assert_eq!(closed.code, Some(1001), "{closed:?}");
            Instant::now()
        });
    }
    server.signal_terminate();
    let mut ends = clients.join_all().await;
    ends.sort();
    let spread = *ends.last().unwrap() - ends[0];
    // A millisecond for each; what a busy machine adds is less than all of the deadline.
    assert!(spread >= Duration::from_millis(200), "all closed within {spread:?}");
    assert!(spread < Duration::from_secs(10), "they were closed over {spread:?}");
    assert_eq!(server.exited().await.code(), Some(0));
}
