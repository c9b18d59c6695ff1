//! What a room promises, one promise a test.
#![expect(clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod awareness;
mod back_pressure;
mod collections;
mod edits;
mod history;
mod lag;
mod peers;
mod subscriptions;
mod takeover;
mod windows;

use super::*;
use crate::clock::EditNumber;
use crate::delta::{Change, Changes, DeltaId};
use crate::ids::{FieldName, NodeId};
use crate::limits::{
    AWARENESS_CLIENTS_PER_SESSION_MAX, EDIT_NUMBER_AHEAD_MAX, EDIT_NUMBER_JUMP_TO_MAX,
    FEEDBACK_CLIENTS_MAX, VALUE_BYTES_MAX,
};
use crate::position::{Delivery, Epoch};
use crate::wire::message::ClientAwareness;
use crate::wire::{ErrorCode, ErrorReply, ServerMessage};

const EPOCH: Epoch = Epoch(7);
const ANN: SessionId = SessionId(1);
const BOB: SessionId = SessionId(2);

fn client(name: &str) -> ClientId {
    ClientId::new(name).unwrap()
}

fn field(name: &str) -> FieldName {
    FieldName::new(name).unwrap()
}

fn json(text: &str) -> JsonText {
    JsonText::parse(text).unwrap()
}

fn change(text: &str) -> Change {
    Change::from_json(json(text))
}

fn document_id() -> DocumentId {
    DocumentId::new("doc").unwrap()
}

/// A room of a document that nobody has written.
fn empty_room() -> Room<&'static str> {
    room_with(Snapshot::default(), Limits::default())
}

fn room_with(loaded: Snapshot, limits: Limits) -> Room<&'static str> {
    Room::new(document_id(), loaded, limits)
}

/// A stored document: the writes in order, each `(client, number, timestamp, field, value)`.
fn stored_document(epoch: Epoch, writes: &[(&str, u64, u64, &str, &str)]) -> Snapshot {
    let mut document = Document::new();
    for write in writes {
        document.apply(&delta_of(*write));
    }
    Snapshot { position: Position { epoch, seq: Seq(writes.len() as u64) }, document }
}

fn delta_of((name, number, timestamp, to, value): (&str, u64, u64, &str, &str)) -> Delta {
    Delta {
        id: DeltaId::new(&format!("{name}-{number}-{timestamp}-{to}")),
        client: client(name),
        number: EditNumber(number),
        timestamp,
        changes: vec![(field(to), change(value))].into(),
    }
}

fn draft((name, number, timestamp, to, value): (&str, u64, u64, &str, &str)) -> Draft {
    let delta = delta_of((name, number, timestamp, to, value));
    let number = Some(EditNumber(number)).filter(|_| number > 0);
    let Delta { id, client, changes, .. } = delta;
    Draft { id, client, number, timestamp, changes }
}

fn opened(effects: &[Effect]) -> Vec<Window> {
    let windows = effects.iter().filter_map(|effect| match effect {
        Effect::Open(window, _) => Some(*window),
        _ => None,
    });
    windows.collect()
}

/// What the tests say to a room, and what they need of its effects.
impl Room<&'static str> {
    fn hears(&mut self, input: Input<&'static str>) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.handle(input, &mut effects);
        let mut ended = 0;
        while let Some(window) = opened(&effects).get(ended) {
            self.handle(Input::Over(*window), &mut effects);
            ended += 1;
        }
        effects.retain(|effect| !matches!(effect, Effect::Publish(_) | Effect::Open(..)));
        effects
    }

    /// What the other nodes are told.
    fn tells(&mut self, input: Input<&'static str>) -> Vec<PeerMessage> {
        let mut effects = Vec::new();
        self.handle(input, &mut effects);
        let told = effects.into_iter().filter_map(|effect| match effect {
            Effect::Publish(message) => Some(message),
            _ => None,
        });
        told.collect()
    }

    fn wants(&mut self, session: SessionId, command: Command) -> Vec<Effect> {
        self.hears(Input::Command { session, handle: "handle", command })
    }

    fn subscribes(&mut self, session: SessionId) -> Vec<Effect> {
        self.wants(session, Command::Subscribe { request_id: "r".to_owned(), replay: true })
    }

    fn watches(&mut self, session: SessionId) -> Vec<Effect> {
        self.wants(session, Command::AwarenessSubscribe)
    }

    fn shows(
        &mut self,
        session: SessionId,
        name: &str,
        state: Option<&str>,
        clock: u64,
    ) -> Vec<Effect> {
        let command =
            Command::AwarenessUpdate { client: client(name), state: state.map(json), clock };
        self.wants(session, command)
    }

    /// Edits under the message id `m`, and gives what the store is asked to take.
    fn edits(&mut self, session: SessionId, drafts: Vec<Draft>) -> (TicketId, Vec<Delta>) {
        let command = Command::Edit { message_id: "m".to_owned(), drafts, follow: true };
        match self.wants(session, command).pop() {
            Some(Effect::Append { ticket, deltas }) => (ticket, deltas),
            other => panic!("nothing given to the store: {other:?}"),
        }
    }

    /// Writes one field; the store takes it as number `seq`.
    fn stores(
        &mut self,
        session: SessionId,
        write: (&str, u64, u64, &str, &str),
        seq: u64,
    ) -> Vec<Effect> {
        let edit = self.edits(session, vec![draft(write)]);
        self.is_stored(EPOCH, vec![numbered(edit, seq)])
    }

    fn is_stored(&mut self, epoch: Epoch, edits: Vec<StoredEdit>) -> Vec<Effect> {
        self.hears(Input::Stored { epoch, edits })
    }
}

/// An edit as the store took it, numbered from `first` on.
fn numbered((ticket, deltas): (TicketId, Vec<Delta>), first: u64) -> StoredEdit {
    let deliveries = (first..).map(|seq| Delivery::Stored(Seq(seq)));
    StoredEdit { ticket, deltas: deltas.into_iter().zip(deliveries).collect() }
}

/// An edit that the store had already, under the number `seq`.
fn repeated((ticket, deltas): (TicketId, Vec<Delta>), seq: u64) -> StoredEdit {
    let again = |delta| (delta, Delivery::Repeated(Seq(seq)));
    StoredEdit { ticket, deltas: deltas.into_iter().map(again).collect() }
}

fn position(seq: u64) -> Position {
    Position { epoch: EPOCH, seq: Seq(seq) }
}

fn ack() -> ServerMessage {
    ServerMessage::Ack { message_id: "m".to_owned() }
}

fn value_of(to: &str, value: &str, clock: &str) -> ServerMessage {
    let (field, value, clock) = (field(to), change(value), json(clock));
    ServerMessage::Delta { document: document_id(), field, value, clock }
}

fn awareness_of(name: &str, state: Option<&str>, clock: u64) -> ServerMessage {
    let (client, state) = (client(name), state.map(json));
    ServerMessage::AwarenessUpdate { document: document_id(), client, state, clock }
}

fn everybody(here: &[(&str, &str, u64)]) -> ServerMessage {
    let awareness = |(name, state, clock): &(&str, &str, u64)| ClientAwareness {
        client: client(name),
        state: json(state),
        clock: *clock,
    };
    let states = here.iter().map(awareness).collect();
    ServerMessage::AwarenessState { document: document_id(), states }
}

fn answer(state: &str, clock: &str) -> ServerMessage {
    ServerMessage::SyncResponse {
        request_id: "r".to_owned(),
        document: document_id(),
        state: json(state),
        clock: json(clock),
        text: None,
    }
}

fn broadcasts(effects: &[Effect]) -> Vec<&ServerMessage> {
    let broadcasts = effects.iter().filter_map(|effect| match effect {
        Effect::Broadcast(message) => Some(message),
        _ => None,
    });
    broadcasts.collect()
}
