//! One client: it keeps a window of edits under way, remembers all that it ever sent, and sends
//! again what was not acknowledged when it is back.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};
use synckit_client::connection::{Connection, Message as Frame};
use synckit_client::message::{ServerMessage, decode};
use synckit_client::now_millis;
use synckit_client::websocket::Closed;
use tokio::sync::watch;

use crate::random::Random;

/// Messages without an acknowledgement at a time.
const WINDOW: usize = 8;

/// Fields that all writers of a document write.
const SHARED_FIELDS: u64 = 4;

/// Documents that one writer writes to.
const DOCUMENTS_OF_ONE: u64 = 2;

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
    pub(crate) async fn write(
        &mut self,
        mut connection: Connection,
        progress: &watch::Sender<Progress>,
    ) {
        // How a connection ends is the business of the one who kills.
        let _ = self.converse(&mut connection, progress).await;
        let unanswered = std::mem::take(&mut self.under_way);
        let mut again: Vec<usize> = unanswered.into_values().collect();
        again.sort_unstable();
        for place in again.into_iter().rev() {
            self.to_send.push_front(place);
        }
    }

    async fn converse(
        &mut self,
        connection: &mut Connection,
        progress: &watch::Sender<Progress>,
    ) -> Result<(), Closed> {
        let mut told = progress.subscribe();
        loop {
            let finishing = told.borrow_and_update().finishing;
            if finishing && self.to_send.is_empty() && self.under_way.is_empty() {
                return Ok(());
            }
            self.fill_window(connection, finishing);
            connection.flush().await;
            if self.under_way.is_empty() {
                // Told to finish with nothing left, which the start of the loop sees.
                continue;
            }
            connection.read().await?;
            let mut acknowledged = 0;
            let taken = self.take_messages(connection, &mut acknowledged);
            if acknowledged > 0 {
                progress.send_modify(|progress| progress.acknowledged += acknowledged);
            }
            taken?;
        }
    }

    fn fill_window(&mut self, connection: &mut Connection, finishing: bool) {
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
            connection.queue_text(&self.messages[place].text(&self.name, &id));
            self.under_way.insert(id, place);
        }
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

    /// Takes what was read; counts the messages that it acknowledges.
    fn take_messages(
        &mut self,
        connection: &mut Connection,
        acknowledged: &mut u64,
    ) -> Result<(), Closed> {
        while let Some(Frame::Text(text)) = connection.next_message()? {
            if text.contains(r#""type":"ack""#) {
                let place = self.answered(text);
                self.messages[place].is_acknowledged = true;
                *acknowledged += 1;
            } else if text.contains(r#""type":"error""#) {
                assert!(text.contains("STORAGE_UNAVAILABLE"), "refused for good: {text}");
                let place = self.answered(text);
                self.refusals += 1;
                self.to_send.push_back(place);
            }
        }
        Ok(())
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

/// A connection to the server at `host:port`.
pub(crate) async fn connect(address: &str) -> Connection {
    let connected = Connection::connect(&format!("ws://{address}/ws")).await;
    connected.unwrap_or_else(|error| panic!("connect to {address}: {error}"))
}

/// Asks for one document and waits for its state and its stamp.
pub(crate) async fn sync(connection: &mut Connection, document: &str) -> Result<Value, Closed> {
    let request = json!({ "type": "sync_request", "documentId": document, "id": document });
    connection.queue_text(&request.to_string());
    loop {
        let received = decode(connection.receive().await?).expect("the server speaks the protocol");
        if let Some(ServerMessage::SyncResponse(answer)) = received.message
            && answer.request_id == document
        {
            // A document that nobody has written has no stamp.
            let stamp = answer.clock.get("server").copied().unwrap_or_default();
            return Ok(json!([answer.state, stamp]));
        }
    }
}
