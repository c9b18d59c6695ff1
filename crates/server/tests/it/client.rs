//! One connection, which does exactly what a test says and shows everything that arrived when it
//! is not what the test waited for.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use synckit_client::handshake::{Address, ConnectError, TurnedAway, upgrade};
use synckit_client::now_millis;
use synckit_client::websocket::{Closed, Frame, FrameBuffer, Opcode, write_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};

use crate::messages::{Edit, State};

/// The bound of every wait. Far above what anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(25);

/// Messages that a failure shows, and how much of each.
const SHOWN_MESSAGES: usize = 12;
const SHOWN_BYTES: usize = 300;

/// How to connect, where the usual way will not do.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    /// The loopback address to come from.
    pub(crate) from: Option<[u8; 4]>,
    /// What the kernel holds of what arrives. Little: a client that does not read is slow at once.
    pub(crate) receive_buffer: Option<u32>,
    /// Whether WebSocket pings are left without an answer.
    pub(crate) ignores_pings: bool,
}

pub(crate) struct Client {
    /// Its client id.
    pub(crate) name: String,
    stream: TcpStream,
    incoming: FrameBuffer,
    ignores_pings: bool,
    /// Edits so far.
    count: u64,
    messages_sent: u64,
    /// What no `expect` has taken yet.
    unread: Vec<Value>,
    /// The last messages, as text.
    shown: VecDeque<String>,
    pings: u64,
    closed: Option<Closed>,
}

impl Client {
    pub(crate) async fn connect(address: &str) -> Self {
        Self::connect_with(address, Options::default()).await
    }

    pub(crate) async fn connect_with(address: &str, options: Options) -> Self {
        Self::try_connect(address, options)
            .await
            .unwrap_or_else(|refused| panic!("no connection to {address}: {refused:?}"))
    }

    pub(crate) async fn try_connect(address: &str, options: Options) -> Result<Self, TurnedAway> {
        let connected = timeout(PATIENCE, Self::shake_hands(address, options)).await;
        match connected.unwrap_or_else(|_| panic!("no answer of {address} within {PATIENCE:?}")) {
            Ok(client) => Ok(client),
            Err(ConnectError::TurnedAway(refused)) => Err(refused),
            Err(error) => panic!("connect to {address}: {error}"),
        }
    }

    async fn shake_hands(address: &str, options: Options) -> Result<Self, ConnectError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = options.from {
            socket.bind((from, 0).into())?;
        }
        if let Some(bytes) = options.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let target: SocketAddr = address.parse().expect("servers listen on IP addresses");
        let mut stream = socket.connect(target).await?;
        stream.set_nodelay(true)?;
        let incoming = upgrade(&mut stream, &Address::from(target)).await?;
        Ok(Self {
            name: format!("client-{}", COUNT.fetch_add(1, Ordering::Relaxed) + 1),
            stream,
            incoming,
            ignores_pings: options.ignores_pings,
            count: 0,
            messages_sent: 0,
            unread: Vec::new(),
            shown: VecDeque::new(),
            pings: 0,
            closed: None,
        })
    }

    /// The next edit of this client; nothing is sent yet.
    pub(crate) fn edit(&mut self, document: &str, field: &str, value: Value) -> Edit {
        self.count += 1;
        Edit {
            document: document.to_owned(),
            client: self.name.clone(),
            counter: self.count,
            timestamp: now_millis(),
            field: field.to_owned(),
            value,
        }
    }

    /// Sends an edit under a new message id, which it returns.
    pub(crate) async fn send_edit(&mut self, edit: &Edit) -> String {
        let message_id = self.next_message_id();
        self.send(&edit.message(&message_id)).await;
        message_id
    }

    /// Writes one field and waits for the acknowledgement.
    pub(crate) async fn set(&mut self, document: &str, field: &str, value: Value) -> Edit {
        let edit = self.edit(document, field, value);
        let message_id = self.send_edit(&edit).await;
        self.expect_ack(&message_id).await;
        edit
    }

    /// The state, as a client that subscribes gets it.
    pub(crate) async fn subscribe(&mut self, document: &str) -> State {
        self.ask_state("subscribe", document).await
    }

    /// The state now.
    pub(crate) async fn sync(&mut self, document: &str) -> State {
        self.ask_state("sync_request", document).await
    }

    /// Subscribes without waiting for the state.
    pub(crate) async fn ask(&mut self, document: &str) {
        let id = self.next_message_id();
        self.send(&json!({ "type": "subscribe", "documentId": document, "id": id })).await;
    }

    /// The state that was asked for.
    pub(crate) async fn expect_state(&mut self, document: &str) {
        self.expect(&format!("the state of {document}"), |message| {
            message["type"] == "sync_response" && message["documentId"] == *document
        })
        .await;
    }

    async fn ask_state(&mut self, kind: &str, document: &str) -> State {
        let id = self.next_message_id();
        self.send(&json!({ "type": kind, "documentId": document, "id": id })).await;
        let answer = self
            .expect(&format!("the state of {document}"), |message| {
                message["type"] == "sync_response" && message["requestId"] == *id
            })
            .await;
        State {
            fields: answer["state"].clone(),
            stamp: answer["clock"]["server"].as_u64().unwrap_or_default(),
        }
    }

    /// Waits until this server shows a value, and returns the state that does.
    pub(crate) async fn until_it_shows(
        &mut self,
        document: &str,
        field: &str,
        value: &Value,
    ) -> State {
        let end = Instant::now() + PATIENCE;
        loop {
            let state = self.sync(document).await;
            if state.fields[field] == *value {
                return state;
            }
            assert!(Instant::now() < end, "{document} never shows {field} = {value}: {state:?}");
        }
    }

    /// All that was sent before has been understood when this returns, though not all answered:
    /// documents answer in their own time.
    pub(crate) async fn ping(&mut self) {
        self.send(&json!({ "type": "ping" })).await;
        self.expect("a pong", |message| message["type"] == "pong").await;
    }

    pub(crate) async fn expect_ack(&mut self, message_id: &str) {
        self.expect(&format!("the acknowledgement of {message_id}"), |message| {
            message["type"] == "ack" && message["messageId"] == *message_id
        })
        .await;
    }

    /// Whether the answer to an edit is that it is stored, rather than that it can't be now.
    pub(crate) async fn is_stored(&mut self, message_id: &str) -> bool {
        let answer = self
            .expect(&format!("an answer to {message_id}"), |message| {
                message["messageId"] == *message_id
                    || message["details"]["messageId"] == *message_id
            })
            .await;
        if answer["type"] == "error" {
            assert_eq!(answer["details"]["code"], "STORAGE_UNAVAILABLE", "{answer}");
        }
        answer["type"] == "ack"
    }

    /// The code of the error that answers a message.
    pub(crate) async fn expect_refusal(&mut self, message_id: &str) -> String {
        let error = self
            .expect(&format!("the refusal of {message_id}"), |message| {
                message["type"] == "error" && message["details"]["messageId"] == *message_id
            })
            .await;
        error["details"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The next change of a field to this value.
    pub(crate) async fn expect_change(&mut self, document: &str, field: &str, value: &Value) {
        self.expect(&format!("{field} = {value} of {document}"), |message| {
            message["type"] == "delta"
                && message["documentId"] == *document
                && message["field"] == *field
                && message["value"] == *value
        })
        .await;
    }

    /// The first message not taken before that is wanted.
    pub(crate) async fn expect(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.unread.iter().position(&wanted) {
            return self.unread.remove(at);
        }
        let end = Instant::now() + PATIENCE;
        loop {
            match timeout_at(end, self.receive()).await {
                Ok(Ok(message)) if wanted(&message) => return message,
                Ok(Ok(message)) => self.unread.push(message),
                Ok(Err(closed)) => panic!("waited for {what}, got {closed:?}; {}", self.story()),
                Err(_) => panic!("no {what} within {PATIENCE:?}; {}", self.story()),
            }
        }
    }

    /// What arrived and was not taken by an `expect`.
    pub(crate) fn take_unread(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.unread)
    }

    /// Reads until the connection ends; messages before that stay unread.
    pub(crate) async fn until_closed(&mut self) -> Closed {
        let end = Instant::now() + PATIENCE;
        loop {
            match timeout_at(end, self.receive()).await {
                Ok(Ok(message)) => self.unread.push(message),
                Ok(Err(closed)) => return closed,
                Err(_) => panic!("still open after {PATIENCE:?}; {}", self.story()),
            }
        }
    }

    /// Reads until so many WebSocket pings have arrived, and answers them unless told otherwise.
    pub(crate) async fn until_pinged(&mut self, pings: u64) {
        let end = Instant::now() + PATIENCE;
        while self.pings < pings {
            let seen = self.pings;
            // A ping is no message, so `receive` does not return for it.
            let read = timeout_at(end, self.read_more()).await;
            assert_eq!(read, Ok(Ok(())), "{seen} of {pings} pings; {}", self.story());
            while let Some(message) = self.take_frame().await {
                self.unread.extend(message);
            }
        }
    }

    /// Ends the connection as a client does that is done.
    pub(crate) async fn close(mut self) {
        self.send_frame(Opcode::Close, &1000_u16.to_be_bytes()).await;
        let closed = self.until_closed().await;
        assert_eq!(closed.code, Some(1000), "{}", self.story());
    }

    /// The next message. Cancel-safe: a message is whole in the buffer, or taken.
    pub(crate) async fn receive(&mut self) -> Result<Value, Closed> {
        loop {
            while let Some(message) = self.take_frame().await {
                if let Some(message) = message {
                    return Ok(message);
                }
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> Result<(), Closed> {
        if let Some(closed) = &self.closed {
            return Err(closed.clone());
        }
        let closed = match self.stream.read_buf(self.incoming.room()).await {
            Ok(1..) => return Ok(()),
            Ok(0) => Closed::without_code(&"end of stream"),
            Err(error) => Closed::without_code(&error),
        };
        self.closed = Some(closed.clone());
        Err(closed)
    }

    /// Takes the next whole frame, if it is there; what it is, if that is a message.
    async fn take_frame(&mut self) -> Option<Option<Value>> {
        let frame = self.incoming.next_frame();
        let answer =
            match frame.unwrap_or_else(|violation| panic!("the server sent {violation}"))? {
                Frame::Text(text) => {
                    let message: Value = serde_json::from_str(text)
                        .unwrap_or_else(|error| panic!("not JSON: {error}: {text}"));
                    let shown = text.as_bytes().get(..SHOWN_BYTES).unwrap_or(text.as_bytes());
                    self.shown.truncate(SHOWN_MESSAGES - 1);
                    self.shown.push_front(String::from_utf8_lossy(shown).into_owned());
                    return Some(Some(message));
                }
                Frame::Close(closed) => {
                    self.closed.get_or_insert(closed);
                    return Some(None);
                }
                Frame::Pong => return Some(None),
                Frame::Binary(_) => panic!("a binary message, though this client speaks JSON"),
                Frame::Ping(payload) => payload.to_vec(),
            };
        self.pings += 1;
        if !self.ignores_pings {
            self.send_frame(Opcode::Pong, &answer).await;
        }
        Some(None)
    }

    /// Sends a message as a JSON text.
    pub(crate) async fn send(&mut self, message: &Value) {
        self.send_frame(Opcode::Text, message.to_string().as_bytes()).await;
    }

    /// Sends a text that need not be a message.
    pub(crate) async fn send_text(&mut self, text: &str) {
        self.send_frame(Opcode::Text, text.as_bytes()).await;
    }

    async fn send_frame(&mut self, opcode: Opcode, payload: &[u8]) {
        let mut frame = Vec::new();
        write_frame(&mut frame, opcode, payload);
        self.send_bytes(&frame).await;
    }

    /// Sends bytes that need not be a frame.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        let sent = timeout(PATIENCE, self.stream.write_all(bytes)).await;
        // A connection that has ended shows when it is read: what arrived before is still there.
        let _ = sent.unwrap_or_else(|_| panic!("not sent within {PATIENCE:?}; {}", self.story()));
    }

    fn next_message_id(&mut self) -> String {
        self.messages_sent += 1;
        format!("{}-{}", self.name, self.messages_sent)
    }

    /// The last messages, the newest first.
    pub(crate) fn story(&self) -> String {
        let messages = Vec::from_iter(self.shown.iter().map(String::as_str)).join("\n  ");
        format!("{} received, the newest first:\n  {messages}", self.name)
    }
}
