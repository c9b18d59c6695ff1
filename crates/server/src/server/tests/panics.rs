use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use synckit_client::connection::{Connection, Message};
use synckit_client::websocket::Closed;
use synckit_engine::clock::EditNumber;
use synckit_engine::delta::{Changes, Delta, DeltaId};
use synckit_engine::ids::{ClientId, DocumentId};
use synckit_store::{Append, StorageProvider};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::fragile::{Call, Faults, FragileStore};
use super::*;
use crate::config::ConfigFlags;

/// The bound of every wait, far above what anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(25);

/// Edits that a room has under way before it leaves commands in its mailbox, and one more.
const MORE_THAN_A_ROOM_TAKES: usize = 4_097;

struct Running {
    url: String,
    store: FragileStore,
    stop: CancellationToken,
    run: AbortOnDropHandle<Result<(), Error>>,
}

async fn start() -> Running {
    let store = FragileStore::default();
    let none = std::iter::empty();
    let mut config = Config::load(&ConfigFlags::default(), none).unwrap();
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let listeners = listen(&config.listen).await.unwrap();
    let storage = Storage { provider: Arc::new(store.clone()), lanes: 1, loads: 1 };
    let server = Server::start_on(config, listeners, storage).await.unwrap();
    let url = format!("ws://{}/ws", server.addresses()[0]);
    let stop = CancellationToken::new();
    #[expect(clippy::disallowed_methods, reason = "ends with the test")]
    let run = AbortOnDropHandle::new(tokio::spawn(server.run(stop.clone())));
    Running { url, store, stop, run }
}

impl Running {
    fn faults(&self) -> &Faults {
        &self.store.faults
    }

    async fn client(&self) -> Client {
        Client(Connection::connect(&self.url).await.unwrap())
    }

    async fn ended(self) -> Result<(), Error> {
        timeout(PATIENCE, self.run).await.expect("it ends").expect("it does not panic")
    }
}

struct Client(Connection);

impl Client {
    fn subscribe(&mut self, id: &str) {
        self.say(&json!({ "type": "subscribe", "id": id, "documentId": "doc" }));
    }

    fn edit(&mut self, id: &str) {
        self.say(&json!({
            "type": "delta", "messageId": id, "documentId": "doc", "field": "field", "value": id,
        }));
    }

    fn say(&mut self, message: &Value) {
        self.0.queue_text(&message.to_string());
    }

    /// The first message of that kind.
    async fn receive(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let answer = async {
            loop {
                let Message::Text(text) = self.0.receive().await.expect("it is open") else {
                    panic!("a text is answered by a text");
                };
                let message: Value = serde_json::from_str(text).unwrap();
                if is_it(&message) {
                    return message;
                }
            }
        };
        timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("no answer to {what}"))
    }

    /// The first message about this id.
    async fn answer(&mut self, id: &str) -> Value {
        let is_it = |message: &Value| {
            let named =
                [&message["messageId"], &message["requestId"], &message["details"]["messageId"]];
            named.iter().any(|named| **named == id)
        };
        self.receive(id, is_it).await
    }

    /// Until the server has read all that was said, and the rooms have it in their mailboxes.
    async fn ping(&mut self) {
        self.say(&json!({ "type": "ping", "id": "ping" }));
        self.receive("ping", |message| message["type"] == "pong").await;
    }

    async fn expect(&mut self, id: &str, kind: &str) {
        let answer = self.answer(id).await;
        assert_eq!(answer["type"], kind, "{answer}");
    }

    async fn expect_retryable(&mut self, id: &str) {
        let answer = self.answer(id).await;
        assert_eq!(answer["details"]["code"], "STORAGE_UNAVAILABLE", "{answer}");
    }

    async fn closed(&mut self) -> Closed {
        let end = async {
            loop {
                if let Err(closed) = self.0.receive().await {
                    return closed;
                }
            }
        };
        timeout(PATIENCE, end).await.expect("it is closed")
    }
}

/// Stores an edit of the document as another process would.
async fn store_elsewhere(store: &FragileStore) {
    let client = ClientId::new("elsewhere").unwrap();
    let (id, number, changes) = (DeltaId::new("elsewhere"), EditNumber(1), Changes::Count(1));
    let delta = Delta { id, client, number, timestamp: 1, changes };
    let document = DocumentId::new("doc").unwrap();
    let batch = [Append { document, deltas: vec![delta] }];
    store.inner.documents().append(&batch).await.unwrap();
}

#[tokio::test]
async fn everyone_in_a_room_that_fails_and_everyone_who_waits_for_it_is_closed_with_1011() {
    let server = start().await;
    let mut member = server.client().await;
    member.subscribe("s");
    member.expect("s", "sync_response").await;
    let appends = server.faults().hold(Call::Append);
    for number in 0..MORE_THAN_A_ROOM_TAKES {
        member.edit(&format!("e{number}"));
    }
    member.ping().await;
    let mut waiting = server.client().await;
    waiting.subscribe("w");
    waiting.ping().await;
    // The room shows a gap, and to read what is missing fails.
    store_elsewhere(&server.store).await;
    server.faults().panic_in(Call::DeltasAfter, 1);
    appends.add_permits(1);

    for client in [&mut member, &mut waiting] {
        let closed = client.closed().await;
        assert_eq!(closed.code, Some(1011), "{closed:?}");
    }
    appends.add_permits(MORE_THAN_A_ROOM_TAKES);
    let mut back = server.client().await;
    back.subscribe("s");
    back.expect("s", "sync_response").await;
    back.edit("e");
    back.expect("e", "ack").await;
    server.stop.cancel();
    server.ended().await.unwrap();
}

#[tokio::test]
async fn a_document_whose_load_fails_is_refused_to_all_who_wait_and_loaded_for_the_next() {
    let server = start().await;
    let gate = server.faults().hold(Call::Get);
    server.faults().panic_in(Call::Get, 1);
    let mut clients = [server.client().await, server.client().await];
    for client in &mut clients {
        client.subscribe("s");
        client.edit("e");
        client.ping().await;
    }
    gate.add_permits(1);
    for client in &mut clients {
        client.expect_retryable("s").await;
        client.expect_retryable("e").await;
    }
    gate.add_permits(1_000);
    for client in &mut clients {
        client.subscribe("again");
        client.expect("again", "sync_response").await;
    }
}

#[tokio::test]
async fn an_edit_that_a_lane_fails_with_is_answered_as_retryable_and_the_lane_goes_on() {
    let server = start().await;
    let mut client = server.client().await;
    server.faults().panic_in(Call::Append, 1);
    client.edit("e1");
    client.expect_retryable("e1").await;
    client.edit("e2");
    client.expect("e2", "ack").await;
}

#[tokio::test]
async fn a_lane_that_keeps_failing_stops_the_server_and_says_goodbye() {
    let server = start().await;
    let mut client = server.client().await;
    server.faults().panic_in(Call::Append, usize::MAX);
    for number in 1..=5 {
        let id = format!("e{number}");
        client.edit(&id);
        client.expect_retryable(&id).await;
    }
    assert_eq!(client.closed().await.code, Some(1001));
    assert!(matches!(server.ended().await, Err(Error::Failed)));
}
