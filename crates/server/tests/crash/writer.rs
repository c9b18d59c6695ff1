//! One client: it keeps a window of edits under way, remembers all that it ever sent, and sends
//! again what was not acknowledged when it is back.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::random::Random;

/// Messages without an acknowledgement at a time.
const WINDOW: usize = 8;

/// Fields that all writers of a document write.
const SHARED_FIELDS: u64 = 4;

/// Documents that one writer writes to.
const DOCUMENTS_OF_ONE: u64 = 2;

const READ_BYTES: usize = 16 << 10;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;

/// What all writers are told, and what they tell.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    /// Messages acknowledged in this round.
    pub(crate) acknowledged: u64,
    /// Whether to send nothing new and to end when everything is acknowledged.
    pub(crate) finishing: bool,
}

/// One delta as it was sent. Sent again as it is, it is a repeat.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    pub(crate) counter: u64,
    pub(crate) timestamp: u64,
    pub(crate) changes: Map<String, Value>,
}

/// Edits that are acknowledged together, all of one document.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) document: String,
    pub(crate) edits: Vec<Edit>,
    pub(crate) is_acknowledged: bool,
}

#[derive(Debug)]
pub(crate) struct Writer {
    /// Its client id.
    pub(crate) name: String,
    documents: Vec<String>,
    random: Random,
    /// All that it ever sent.
    pub(crate) messages: Vec<Message>,
    /// Places in `messages` to be sent, again or for the first time.
    to_send: VecDeque<usize>,
    /// Places by the message id that is under way.
    under_way: BTreeMap<String, usize>,
    edits: u64,
    attempts: u64,
    pub(crate) refusals: u64,
}

impl Writer {
    /// Messages that went out more than once.
    pub(crate) fn resent(&self) -> u64 {
        self.attempts - self.messages.len() as u64
    }

    pub(crate) fn new(number: u64, documents: u64, random: Random) -> Self {
        let documents = (0..DOCUMENTS_OF_ONE)
            .map(|place| document_name((number * (1 + 6 * place) + 3 * place) % documents))
            .collect();
        Self {
            name: format!("writer-{number}"),
            documents,
            random,
            messages: Vec::new(),
            to_send: VecDeque::new(),
            under_way: BTreeMap::new(),
            edits: 0,
            attempts: 0,
            refusals: 0,
        }
    }

    /// Writes until the connection ends, or until it is told to finish and has nothing to wait for.
    /// What was not acknowledged is sent first the next time.
    pub(crate) async fn write(&mut self, stream: TcpStream, progress: &watch::Sender<Progress>) {
        // How a connection ends is the business of the one who kills.
        let _ = self.converse(stream, progress).await;
        let unanswered = std::mem::take(&mut self.under_way);
        let mut again: Vec<usize> = unanswered.into_values().collect();
        again.sort_unstable();
        for place in again.into_iter().rev() {
            self.to_send.push_front(place);
        }
    }

    async fn converse(
        &mut self,
        mut stream: TcpStream,
        progress: &watch::Sender<Progress>,
    ) -> io::Result<()> {
        let mut told = progress.subscribe();
        let mut received = Vec::with_capacity(READ_BYTES);
        loop {
            let finishing = told.borrow_and_update().finishing;
            if finishing && self.to_send.is_empty() && self.under_way.is_empty() {
                return Ok(());
            }
            let frames = self.next_frames(finishing);
            stream.write_all(&frames).await?;
            if self.under_way.is_empty() {
                // Told to finish with nothing left, which the start of the loop sees.
                continue;
            }
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
            let acknowledged = self.take_frames(&mut received)?;
            if acknowledged > 0 {
                progress.send_modify(|progress| progress.acknowledged += acknowledged);
            }
        }
    }

    /// Fills the window.
    fn next_frames(&mut self, finishing: bool) -> Vec<u8> {
        let mut frames = Vec::new();
        while self.under_way.len() < WINDOW {
            let place = match self.to_send.pop_front() {
                Some(place) => place,
                None if finishing => break,
                None => {
                    let message = self.next_message();
                    self.messages.push(message);
                    self.messages.len() - 1
                }
            };
            self.attempts += 1;
            // A retry carries an id of its own, as those of the published clients do.
            let id = format!("{}/{}", self.name, self.attempts);
            let text = self.messages[place].text(&self.name, &id);
            frames.extend_from_slice(&masked_frame(text.as_bytes()));
            self.under_way.insert(id, place);
        }
        frames
    }

    fn next_message(&mut self) -> Message {
        let place = self.random.below(DOCUMENTS_OF_ONE);
        let document = self.documents[usize::try_from(place).expect("a small number")].clone();
        let count = if self.random.one_in(6) { 3 } else { 1 };
        let edits = (0..count).map(|_| self.next_edit()).collect();
        Message { document, edits, is_acknowledged: false }
    }

    fn next_edit(&mut self) -> Edit {
        self.edits += 1;
        let mut changes = Map::new();
        let fields = if self.random.one_in(5) { 2 } else { 1 };
        for _ in 0..fields {
            let field = match self.random.below(2 * SHARED_FIELDS) {
                number @ 0..SHARED_FIELDS => format!("shared-{number}"),
                _ => format!("own-{}", self.name),
            };
            let value = if self.random.one_in(10) {
                json!({ "__deleted": true })
            } else {
                json!(format!("{} of {}", self.edits, self.name))
            };
            changes.insert(field, value);
        }
        Edit { counter: self.edits, timestamp: now_millis(), changes }
    }

    /// Takes the whole frames out of what arrived; how many messages they acknowledge.
    fn take_frames(&mut self, received: &mut Vec<u8>) -> io::Result<u64> {
        let mut acknowledged = 0;
        let mut taken = 0;
        while let Some((opcode, start, end)) = frame_bounds(&received[taken..]) {
            let payload = &received[taken + start..taken + end];
            taken += end;
            match opcode {
                TEXT => {
                    let text = std::str::from_utf8(payload).expect("text frames are UTF-8");
                    if text.contains(r#""type":"ack""#) {
                        let place = self.answered(text);
                        self.messages[place].is_acknowledged = true;
                        acknowledged += 1;
                    } else if text.contains(r#""type":"error""#) {
                        assert!(text.contains("STORAGE_UNAVAILABLE"), "refused for good: {text}");
                        let place = self.answered(text);
                        self.refusals += 1;
                        self.to_send.push_back(place);
                    }
                }
                CLOSE => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => {}
            }
        }
        received.drain(..taken);
        Ok(acknowledged)
    }

    /// Looks for the one member instead of reading JSON: most of what arrives is other writers'.
    fn answered(&mut self, text: &str) -> usize {
        let id = text.split(r#""messageId":""#).nth(1).and_then(|rest| rest.split('"').next());
        let id = id.unwrap_or_else(|| panic!("an answer names its message: {text}"));
        self.under_way.remove(id).unwrap_or_else(|| panic!("an answer to nothing: {text}"))
    }
}

impl Message {
    fn text(&self, client: &str, id: &str) -> String {
        let operation = |edit: &Edit| {
            json!({
                "clientId": client,
                "clock": { client: edit.counter },
                "timestamp": edit.timestamp,
                "delta": edit.changes,
            })
        };
        let mut message = match self.edits.as_slice() {
            [edit] => operation(edit),
            edits => {
                let operations: Vec<Value> = edits.iter().map(operation).collect();
                json!({ "deltas": operations })
            }
        };
        message["type"] = json!(if self.edits.len() == 1 { "delta" } else { "delta_batch" });
        message["documentId"] = json!(self.document);
        message["messageId"] = json!(id);
        message.to_string()
    }
}

pub(crate) fn document_name(number: u64) -> String {
    format!("document-{number}")
}

/// A WebSocket connection, after its handshake.
pub(crate) async fn connect(address: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    // Nothing follows the head before the client has said something.
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let text = String::from_utf8_lossy(&head);
    assert!(text.starts_with("HTTP/1.1 101"), "no upgrade: {text}");
    Ok(stream)
}

/// Asks for one document and waits for its state.
pub(crate) async fn sync(stream: &mut TcpStream, document: &str) -> io::Result<Value> {
    let request = json!({ "type": "sync_request", "documentId": document, "id": document });
    stream.write_all(&masked_frame(request.to_string().as_bytes())).await?;
    let mut received = Vec::new();
    loop {
        while let Some((opcode, start, end)) = frame_bounds(&received) {
            let frame: Vec<u8> = received.drain(..end).collect();
            if opcode == TEXT {
                let message: Value = serde_json::from_slice(&frame[start..])?;
                if message["type"] == "sync_response" && message["requestId"] == *document {
                    return Ok(message);
                }
            }
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Opcode, start of the payload and end of the first frame, once it is whole.
fn frame_bounds(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let [first, second, rest @ ..] = bytes else { return None };
    let (start, length) = match usize::from(*second) {
        length @ 0..=125 => (2, length),
        126 => (4, usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?))),
        127 => {
            let length = u64::from_be_bytes(rest.get(..8)?.try_into().ok()?);
            (10, usize::try_from(length).expect("a length fits"))
        }
        _ => panic!("the server masked a frame"),
    };
    (bytes.len() >= start + length).then_some((first & 0x0F, start, start + length))
}

/// A text message as clients must send it; a mask of zeros leaves the bytes as they are.
fn masked_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | TEXT];
    match u16::try_from(payload.len()).expect("messages are short") {
        short @ 0..=125 => frame.push(0x80 | short.to_be_bytes()[1]),
        medium => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    u64::try_from(since.as_millis()).expect("milliseconds fit")
}
