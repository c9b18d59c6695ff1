//! One client that writes and watches. It outlives its connections, and keeps the documents as a
//! client of the published SDK does: by what it is sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use synckit_client::now_millis;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::client::Client;
use crate::messages::{Edit, tombstone};
use crate::random::Random;

/// What every editor is subscribed to and writes.
pub(crate) const DOCUMENTS: [&str; 2] = ["doc-0", "doc-1"];

/// Fields that all editors write.
const SHARED_FIELDS: u64 = 4;

/// Edits of an editor that are not answered at a time.
const WINDOW: usize = 4;

/// The longest time between two edits, so that several servers and Redis get along on one machine.
const EDIT_PAUSE_MS_MAX: u64 = 40;

/// What a client shows of a document.
pub(crate) type Fields = Map<String, Value>;

/// What all editors are told.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Orders {
    pub(crate) is_writing: bool,
}

/// What an editor knows, for those who watch it.
#[derive(Default)]
pub(crate) struct Seen {
    replicas: BTreeMap<String, BTreeMap<String, Held>>,
    /// Of every edit that was acknowledged.
    pub(crate) acknowledged: Vec<Edit>,
    /// Sent, or to be sent, and not answered.
    waiting: BTreeMap<u64, Edit>,
    /// When something of the replicas last changed.
    pub(crate) changed_at: Option<Instant>,
    pub(crate) connections: u64,
    pub(crate) refusals: u64,
}

struct Held {
    stamp: u64,
    /// None when it was deleted.
    value: Option<Value>,
}

impl Seen {
    pub(crate) fn shows(&self, document: &str) -> Fields {
        let fields = self.replicas.get(document).into_iter().flatten();
        fields.filter_map(|(name, held)| Some((name.clone(), held.value.clone()?))).collect()
    }

    /// What is held of a field, for those who miss something there.
    pub(crate) fn story(&self, document: &str, field: Option<&str>) -> String {
        let held = field.and_then(|field| self.replicas.get(document)?.get(field));
        held.map(|held| format!("(held: {:?} of stamp {})", held.value, held.stamp))
            .unwrap_or_default()
    }

    pub(crate) fn documents(&self) -> usize {
        self.replicas.len()
    }

    pub(crate) fn waits(&self) -> usize {
        self.waiting.len()
    }
}

pub(crate) struct Editor {
    pub(crate) name: String,
    /// Where its node is; none while that is away.
    pub(crate) home: watch::Receiver<Option<String>>,
    pub(crate) orders: watch::Receiver<Orders>,
    pub(crate) seen: Arc<Mutex<Seen>>,
    /// Told after every change of `seen`.
    pub(crate) news: watch::Sender<u64>,
    pub(crate) random: Random,
    pub(crate) edits: u64,
}

impl Editor {
    /// Goes on until it is aborted.
    pub(crate) async fn run(mut self) {
        loop {
            // Fails when the test is over.
            let Ok(address) = self.home.wait_for(Option::is_some).await.map(|it| it.clone()) else {
                return;
            };
            let mut client = Client::connect(&address.expect("waited for one")).await;
            client.name.clone_from(&self.name);
            for document in DOCUMENTS {
                let id = format!("open-{document}");
                client
                    .send(&json!({ "type": "subscribe", "documentId": document, "id": id }))
                    .await;
            }
            let unanswered: Vec<_> = {
                let mut seen = self.seen.lock();
                seen.connections += 1;
                seen.waiting
                    .iter()
                    .map(|(number, edit)| edit.message(&number.to_string()))
                    .collect()
            };
            for message in unanswered {
                client.send(&message).await;
            }
            self.converse(&mut client).await;
        }
    }

    /// Until the connection ends.
    async fn converse(&mut self, client: &mut Client) {
        let mut next_edit = Instant::now();
        loop {
            let orders = *self.orders.borrow_and_update();
            let has_place = self.seen.lock().waiting.len() < WINDOW;
            tokio::select! {
                message = client.receive() => match message {
                    Ok(message) => {
                        if let Some(again) = self.take(&message) {
                            client.send(&again).await;
                        }
                        self.news.send_modify(|count| *count += 1);
                    }
                    Err(_closed) => return,
                },
                () = sleep_until(next_edit), if orders.is_writing && has_place => {
                    if let Some(message) = self.next_edit() {
                        client.send(&message).await;
                    }
                    next_edit +=
                        Duration::from_millis(self.random.below(EDIT_PAUSE_MS_MAX));
                }
                changed = self.orders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    next_edit = Instant::now();
                }
            }
        }
    }

    /// None when it was told to rest meanwhile. Who tells it waits until the orders are let go of,
    /// so that nothing begins to be unanswered after that.
    fn next_edit(&mut self) -> Option<Value> {
        let orders = self.orders.clone();
        let told = orders.borrow();
        if !told.is_writing {
            return None;
        }
        self.edits += 1;
        let number = self.edits;
        let document = if self.random.one_in(2) { DOCUMENTS[0] } else { DOCUMENTS[1] };
        let field = match self.random.below(2 * SHARED_FIELDS) {
            number @ 0..SHARED_FIELDS => format!("shared-{number}"),
            _ => format!("own-{}", self.name),
        };
        let value = if self.random.one_in(6) {
            tombstone()
        } else {
            json!(format!("{number} of {}", self.name))
        };
        let edit = Edit {
            document: document.to_owned(),
            client: self.name.clone(),
            counter: number,
            timestamp: now_millis(),
            field,
            value,
        };
        let message = edit.message(&number.to_string());
        self.seen.lock().waiting.insert(number, edit);
        Some(message)
    }

    /// What a message changes; what is to be sent again because of it.
    fn take(&mut self, message: &Value) -> Option<Value> {
        let mut seen = self.seen.lock();
        match message["type"].as_str() {
            Some("ack") => {
                let number = number(&message["messageId"]);
                let edit = seen.waiting.remove(&number);
                seen.acknowledged.push(edit.unwrap_or_else(|| {
                    panic!("{message} is for nothing that {} waits for", self.name)
                }));
            }
            Some("error") => {
                assert_eq!(message["details"]["code"], "STORAGE_UNAVAILABLE", "{message}");
                seen.refusals += 1;
                let number = number(&message["details"]["messageId"]);
                let edit = seen.waiting.get(&number).expect("it was not acknowledged before");
                return Some(edit.message(&number.to_string()));
            }
            Some("sync_response") => {
                let stamp = highest(&message["clock"]);
                let state = message["state"].as_object().expect("a state is an object");
                let held = |(name, value): (&String, &Value)| {
                    (name.clone(), Held { stamp, value: Some(value.clone()) })
                };
                let document = text(&message["documentId"]);
                seen.replicas.insert(document, state.iter().map(held).collect());
                seen.changed_at = Some(Instant::now());
            }
            Some("delta") => self.take_delta(&mut seen, message),
            _ => {}
        }
        None
    }

    /// A value counts if its stamp beats the one of the field, as in the published clients.
    fn take_delta(&self, seen: &mut Seen, message: &Value) {
        let replica = seen.replicas.entry(text(&message["documentId"])).or_default();
        let stamp = highest(&message["clock"]);
        let value = Some(message["value"].clone()).filter(|value| *value != tombstone());
        let field = text(&message["field"]);
        let held = replica.get(&field).filter(|held| held.stamp >= stamp);
        if let Some(held) = held {
            let is_same = held.stamp > stamp || held.value == value;
            assert!(is_same, "{} got two values under one stamp: {message}", self.name);
            return;
        }
        replica.insert(field, Held { stamp, value });
        seen.changed_at = Some(Instant::now());
    }
}

fn number(message_id: &Value) -> u64 {
    message_id.as_str().and_then(|text| text.parse().ok()).expect("answers name edits")
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn highest(clock: &Value) -> u64 {
    let entries = clock.as_object().expect("a clock is an object").values();
    entries.filter_map(Value::as_u64).max().unwrap_or_default()
}
