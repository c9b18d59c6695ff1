use serde_json::{Value, json};
use synckit_client::websocket::{Closed, Opcode, write_frame};
use synckit_testkit::ServerProcess;

use crate::client::{Client, Options};
use crate::setup::memory_server_command;

const PROTOCOL_ERROR: u16 = 1002;
/// Come back and synchronise.
pub(crate) const TRY_AGAIN_LATER: u16 = 1013;
const POLICY_VIOLATION: u16 = 1008;
const MESSAGE_TOO_BIG: u16 = 1009;

/// Two clients that edit a document while others misbehave beside them, in the same document.
struct Bystanders {
    writer: Client,
    reader: Client,
    count: u64,
}

impl Bystanders {
    async fn on(server: &ServerProcess) -> Self {
        let mut reader = Client::connect(server.address()).await;
        reader.subscribe("doc").await;
        Self { writer: Client::connect(server.address()).await, reader, count: 0 }
    }

    /// Edits arrive, and nothing else does.
    async fn notice_nothing(&mut self) {
        self.count += 1;
        let value = json!(self.count);
        self.writer.set("doc", "bystander", value.clone()).await;
        self.reader.expect_change("doc", "bystander", &value).await;
        self.writer.expect_change("doc", "bystander", &value).await;
        for client in [&mut self.writer, &mut self.reader] {
            client.ping().await;
            assert_eq!(client.take_unread(), Vec::<Value>::new());
        }
    }
}

/// A whole message as clients must send it, with any opcode.
fn masked_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    write_frame(&mut frame, Opcode::Continuation, payload);
    frame[0] |= opcode;
    frame
}

/// A client that has the document open and then sends these bytes.
async fn after(server: &ServerProcess, bytes: &[u8]) -> Closed {
    let mut client = Client::connect(server.address()).await;
    client.subscribe("doc").await;
    client.send_bytes(bytes).await;
    client.until_closed().await
}

#[tokio::test]
async fn bytes_that_are_no_websocket_frame_end_their_connection_only() {
    let server = memory_server_command(&["ws.max_frame_bytes=4096"]).start().await;
    let mut bystanders = Bystanders::on(&server).await;

    let mut unmasked = masked_frame(1, br#"{"type":"ping"}"#);
    unmasked[1] &= 0x7F;
    unmasked.drain(2..6);
    let reserved_bits = [&[0xF1, 0x80], [0; 4].as_slice()].concat();
    let unknown_opcode = masked_frame(3, b"?");
    let long_ping = masked_frame(9, &[0; 126]);
    let not_utf8 = masked_frame(1, &[0xC3, 0x28]);
    let stray_continuation = masked_frame(0, b"more");
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        &[0xFF; 64],
        &unmasked,
        &reserved_bits,
        &unknown_opcode,
        &long_ping,
        &not_utf8,
        &stray_continuation,
    ] {
        let closed = after(&server, bytes).await;
        assert_eq!(closed.code, Some(PROTOCOL_ERROR), "{closed:?} after {bytes:?}");
        bystanders.notice_nothing().await;
    }

    let closed = after(&server, &masked_frame(2, &[0; 4_097])).await;
    assert_eq!(closed.code, Some(MESSAGE_TOO_BIG), "{closed:?}");
    bystanders.notice_nothing().await;
}

#[tokio::test]
async fn a_frame_that_announces_more_than_ever_comes_ends_with_the_heartbeat() {
    let settings = ["ws.heartbeat_interval_ms=100", "ws.heartbeat_timeout_ms=1500"];
    let server = memory_server_command(&settings).start().await;
    let mut bystanders = Bystanders::on(&server).await;
    // A mebibyte of text, of which the first byte is sent. Nor is any ping answered from then on:
    // to the server the answer is a part of the text.
    let lie = [&[0x81, 0xFF, 0, 0, 0, 0, 0, 0x10, 0, 0], [0; 4].as_slice(), b"{"].concat();
    let mut liar = Client::connect_with(
        server.address(),
        Options { ignores_pings: true, ..Options::default() },
    )
    .await;
    liar.subscribe("doc").await;
    liar.send_bytes(&lie).await;
    bystanders.notice_nothing().await;
    let (closed, (), ()) = tokio::join!(
        liar.until_closed(),
        bystanders.writer.until_pinged(20),
        bystanders.reader.until_pinged(20),
    );
    assert_eq!(closed.code, Some(TRY_AGAIN_LATER), "{closed:?}");
    bystanders.notice_nothing().await;
}

#[tokio::test]
async fn a_hundred_messages_in_a_row_that_make_no_sense_end_the_connection() {
    let server = memory_server_command(&[]).start().await;
    let mut bystanders = Bystanders::on(&server).await;
    let mut client = Client::connect(server.address()).await;
    for _ in 0..99 {
        client.send_text("{not JSON").await;
    }
    // One that makes sense, and the count starts again.
    client.ping().await;
    for _ in 0..100 {
        client.send_text(r#"{"type":"no such type"}"#).await;
    }
    let closed = client.until_closed().await;
    assert_eq!(closed.code, Some(POLICY_VIOLATION), "{closed:?}");
    let errors = client.take_unread();
    let codes = errors.iter().filter(|error| error["details"]["code"] == "INVALID_MESSAGE");
    assert_eq!(codes.count(), 199, "each is answered: {errors:?}");
    bystanders.notice_nothing().await;
}
