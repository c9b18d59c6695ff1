//! A connection to a WebSocket server that is not ours.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use synckit_client::connection::{Connection, Message};
use synckit_client::framing::BinaryFrame;
use synckit_client::handshake::{Address, ConnectError};
use synckit_client::websocket::Closed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message as Theirs};
use tokio_tungstenite::{WebSocketStream, accept_async};

type Server = WebSocketStream<TcpStream>;

async fn pair() -> (Server, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::from(listener.local_addr().unwrap());
    let accept = async { accept_async(listener.accept().await.unwrap().0).await.unwrap() };
    let (server, connection) = tokio::join!(accept, Connection::connect_to(&address));
    (server, connection.unwrap())
}

#[tokio::test]
async fn messages_go_both_ways_in_both_framings() {
    let (mut server, mut connection) = pair().await;
    connection.queue_binary(0x30, 5, |payload| payload.extend_from_slice(b"{}"));
    connection.queue_text("{}");
    connection.flush().await;
    let Some(Ok(Theirs::Binary(bytes))) = server.next().await else { panic!("no message") };
    let frame = BinaryFrame { code: 0x30, time: 5, payload: b"{}" };
    assert_eq!(BinaryFrame::parse(&bytes), Ok(frame));
    assert_eq!(server.next().await.unwrap().unwrap(), Theirs::text("{}"));

    server.send(Theirs::Binary(bytes.clone())).await.unwrap();
    server.send(Theirs::text("{}")).await.unwrap();
    assert_eq!(connection.receive().await, Ok(Message::Binary(&bytes)));
    assert_eq!(connection.receive().await, Ok(Message::Text("{}")));
}

#[tokio::test]
async fn pings_are_answered_by_whoever_reads() {
    let (mut server, mut connection) = pair().await;
    server.send(Theirs::Ping(Bytes::from_static(b"there?"))).await.unwrap();
    tokio::select! {
        message = connection.receive() => panic!("{message:?}"),
        answer = server.next() => {
            assert_eq!(answer.unwrap().unwrap(), Theirs::Pong(Bytes::from_static(b"there?")));
        }
    }
}

#[tokio::test]
async fn the_code_and_the_reason_of_a_close_are_told_after_what_came_before() {
    let (mut server, mut connection) = pair().await;
    server.send(Theirs::text("last")).await.unwrap();
    let goodbye = CloseFrame { code: CloseCode::Away, reason: "Server shutdown".into() };
    server.close(Some(goodbye)).await.unwrap();
    assert_eq!(connection.receive().await, Ok(Message::Text("last")));
    let closed = Closed { code: Some(1001), reason: "Server shutdown".to_owned() };
    assert_eq!(connection.receive().await, Err(closed.clone()));
    assert_eq!(connection.read().await, Err(closed), "and it stays so");
    let Some(Ok(Theirs::Close(Some(answer)))) = server.next().await else { panic!("no answer") };
    assert_eq!(answer.code, CloseCode::Away);
}

#[tokio::test]
async fn a_connection_is_closed_in_order() {
    let (mut server, mut connection) = pair().await;
    connection.queue_text("first");
    let serve = async {
        assert_eq!(server.next().await.unwrap().unwrap(), Theirs::text("first"));
        // Reading on answers the close frame.
        while server.next().await.is_some_and(|message| message.is_ok()) {}
    };
    let (closed, ()) = tokio::join!(connection.close(), serve);
    assert_eq!(closed.code, Some(1000));
}

#[tokio::test]
async fn a_connection_that_breaks_has_no_code() {
    let (server, mut connection) = pair().await;
    drop(server);
    assert_eq!(connection.receive().await.unwrap_err().code, None);
}

#[tokio::test]
async fn both_sides_may_write_more_than_the_network_holds_at_once() {
    const BYTES: usize = 12 << 20;
    let (server, mut connection) = pair().await;
    let (mut to_client, mut from_client) = server.split();
    let long = Theirs::Binary(vec![1; BYTES].into());
    connection.queue_binary(0x20, 0, |payload| payload.resize(BYTES, b' '));
    let exchange = async {
        // The server reads nothing before the client has read all of it.
        let (sent, received) = tokio::join!(to_client.send(long), async {
            matches!(connection.receive().await, Ok(Message::Binary(bytes)) if bytes.len() == BYTES)
        });
        sent.unwrap();
        assert!(received);
        let (received, ()) = tokio::join!(from_client.next(), connection.flush());
        assert!(received.unwrap().unwrap().len() > BYTES);
    };
    tokio::time::timeout(Duration::from_secs(60), exchange).await.unwrap();
}

#[tokio::test]
async fn a_server_that_turns_a_client_away_says_why_and_for_how_long() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::from(listener.local_addr().unwrap());
    let answer =
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 4\r\n\r\nfull";
    let turn_away = async {
        let mut stream = listener.accept().await.unwrap().0;
        let _ = stream.read(&mut [0; 1_024]).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
    };
    let (connected, ()) = tokio::join!(Connection::connect_to(&address), turn_away);
    let Err(ConnectError::TurnedAway(answer)) = connected else { panic!("let in") };
    assert_eq!((answer.status, answer.reason.as_str()), (503, "full"));
    assert_eq!(answer.retry_after, Some(Duration::from_secs(5)));
}

#[tokio::test]
async fn what_answers_with_the_wrong_key_is_no_websocket_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::from(listener.local_addr().unwrap());
    let answer = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: guessed\r\n\r\n";
    let pretend = async {
        let mut stream = listener.accept().await.unwrap().0;
        let _ = stream.read(&mut [0; 1_024]).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
    };
    let (connected, ()) = tokio::join!(Connection::connect_to(&address), pretend);
    assert!(matches!(connected, Err(ConnectError::NotWebSocket(_))), "{connected:?}");
}
