//! What must hold: some of it after every step, the rest when everything has come to rest.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use synckit_engine::ids::SessionId;
use synckit_engine::limits::{
    AWARENESS_ENTRIES_MAX, BATCH_OPERATIONS_MAX, HELD_BYTES_MAX, HELD_MESSAGES_MAX,
};
use synckit_engine::peer::PeerMessage;
use synckit_engine::position::{Position, Seq};
use synckit_engine::room::{Command, Effect as RoomEffect, Input as RoomInput};
use synckit_engine::session::Effect;
use synckit_engine::wire::{
    ClientMessage, ErrorReply, FrameKind, Framing, Incoming, ServerMessage,
};

use super::world::{Connection, Held, Place, World};

/// Follows every document when all is over, to see what a newcomer is told.
const NEWCOMER: SessionId = SessionId(u64::MAX);

pub(super) fn framing_follows(connection: &Connection, kind: FrameKind, bytes: &[u8]) {
    assert_eq!(connection.session.framing(), Framing::of(kind, bytes));
}

/// A frame that is wrong gets one error; an edit goes to its room or gets one error; before
/// authentication it is held, within the bounds.
pub(super) fn frame_is_answered_once(
    connection: &mut Connection,
    read: &Result<Incoming, Box<ErrorReply>>,
    bytes: usize,
    effects: &[Effect],
) {
    let message = match read {
        Err(error) => {
            let expected = Effect::Reply(ServerMessage::Error(*error.clone()));
            assert_eq!(effects.first(), Some(&expected));
            return only_a_close_follows(&effects[1..]);
        }
        Ok(incoming) => &incoming.message,
    };
    let is_edit = matches!(message, ClientMessage::Edit(_));
    match (effects, message) {
        (_, ClientMessage::Ping) => {
            assert_eq!(effects, [Effect::Reply(ServerMessage::Pong)]);
        }
        (_, ClientMessage::Auth { token }) => {
            assert_eq!(effects, [Effect::Authenticate { token: token.clone() }]);
        }
        (_, ClientMessage::Disconnect) => only_a_close_follows(effects),
        (_, ClientMessage::Ack | ClientMessage::Pong | ClientMessage::Connect) => {
            assert_eq!(effects, []);
        }
        ([], _) if !connection.is_open => connection.held.one_more(bytes, is_edit),
        ([Effect::Reply(ServerMessage::Error(_)), rest @ ..], _) if !connection.is_open => {
            only_a_close_follows(rest);
        }
        (_, ClientMessage::Edit(edit)) => edit_goes_one_way(edit.message_id.as_deref(), effects),
        _ => assert!(effects.len() <= 1, "{effects:?}"),
    }
}

fn only_a_close_follows(effects: &[Effect]) {
    assert!(matches!(effects, [] | [Effect::Close { .. }]), "{effects:?}");
}

fn edit_goes_one_way(named: Option<&str>, effects: &[Effect]) {
    let answered = match effects {
        [Effect::Forward { command: Command::Edit { message_id, drafts, .. }, .. }] => {
            assert!(!drafts.is_empty());
            Some(message_id)
        }
        [Effect::Reply(ServerMessage::Error(error))] => error.message_id.as_ref(),
        other => panic!("an edit leads to {other:?}"),
    };
    let Some(answered) = answered else { panic!("the error names no message: {effects:?}") };
    assert!(named.is_none_or(|named| named == answered), "{named:?} is answered as {answered}");
}

impl Held {
    fn one_more(&mut self, bytes: usize, is_edit: bool) {
        self.messages += 1;
        self.bytes += bytes;
        self.edits += usize::from(is_edit);
        assert!(self.messages <= HELD_MESSAGES_MAX && self.bytes <= HELD_BYTES_MAX, "{self:?}");
    }
}

/// Every edit that was held goes to its room or gets an error.
pub(super) fn held_messages_are_answered(held: &Held, effects: &[Effect]) {
    let answers = effects.iter().filter(|effect| {
        matches!(
            effect,
            Effect::Forward { command: Command::Edit { .. }, .. }
                | Effect::Reply(ServerMessage::Error(_))
        )
    });
    let answers = answers.count();
    assert!((held.edits..=held.messages).contains(&answers), "{held:?} leads to {effects:?}");
}

pub(super) fn position_only_rises(before: Position, after: Position) {
    let is_same_life = before.epoch == after.epoch;
    assert!(!is_same_life || before.seq <= after.seq, "{before:?} falls back to {after:?}");
}

pub(super) fn nodes_can_read(message: &PeerMessage) {
    if let Some(bytes) = message.encode(7) {
        let read = PeerMessage::decode(&bytes).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read, (7, message.clone()));
    }
}

impl Connection {
    /// A room tells the client something.
    pub(super) fn told(&mut self, message: &ServerMessage) {
        match message {
            ServerMessage::Ack { message_id } => self.settle(message_id),
            ServerMessage::Error(ErrorReply { message_id: Some(id), .. }) => self.settle(id),
            ServerMessage::SyncResponse { document, state, .. } => {
                self.shown.insert(document.clone(), fields_of(state.as_str()));
            }
            ServerMessage::Delta { document, field, value, .. } => {
                if let Some(fields) = self.shown.get_mut(document) {
                    match value {
                        synckit_engine::delta::Change::Set(json) => {
                            fields.insert(field.as_str().to_owned(), json.as_str().to_owned());
                        }
                        synckit_engine::delta::Change::Delete => {
                            fields.remove(field.as_str());
                        }
                    }
                }
            }
            ServerMessage::AwarenessState { states, .. } => {
                assert!(states.len() <= AWARENESS_ENTRIES_MAX);
            }
            _ => {}
        }
    }

    /// One edit is answered, and was not before.
    fn settle(&mut self, message_id: &str) {
        let owed = self.owed.get_mut(message_id);
        let Some(owed) = owed.filter(|owed| **owed > 0) else {
            panic!("{message_id:?} is answered once too often");
        };
        *owed -= 1;
        self.owed.retain(|_, owed| *owed > 0);
    }
}

fn fields_of(state: &str) -> BTreeMap<String, String> {
    let fields: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(state).unwrap_or_else(|error| panic!("{error}: {state}"));
    fields.into_iter().map(|(name, raw)| (name, raw.get().to_owned())).collect()
}

impl World {
    pub(super) fn check_step(&self) {
        for place in &self.places {
            place.edits_in_flight_are_bounded(self.limits.edits_in_flight_max);
            place.room_is_the_store_where_it_stands();
        }
    }

    pub(super) fn check_rest(&mut self) {
        for at in 0..self.places.len() {
            self.places[at].room_is_the_store();
            self.who_left_is_gone(at);
            self.places[at].newcomer_is_told_everything();
            for connection in &self.connections {
                connection.shows_the_document(&self.places[at]);
            }
        }
        for connection in &self.connections {
            assert!(connection.owed.is_empty(), "never answered: {:?}", connection.owed);
        }
    }

    fn who_left_is_gone(&mut self, at: usize) {
        // Who left is let go with the next input.
        self.tell(at, RoomInput::Tick(self.now.moment));
        for handle in self.places[at].room.handles() {
            let is_here = self.connections.iter().any(|connection| connection.id == *handle);
            assert!(is_here, "{handle:?} is gone, and the room keeps it");
        }
    }
}

impl Place {
    fn edits_in_flight_are_bounded(&self, most: usize) {
        let given: usize = self.appends.iter().map(|(_, deltas)| deltas.len()).sum();
        let taken: usize = self.answers.iter().map(super::world::Answer::deltas).sum();
        let in_flight = given + taken;
        assert!(in_flight < most + BATCH_OPERATIONS_MAX, "{in_flight} edits are in flight");
        assert!(in_flight < most || !self.room.has_room());
        let awaits = !(self.appends.is_empty() && self.answers.is_empty());
        assert_eq!(self.room.awaits_store(), awaits);
    }

    fn room_is_the_store_where_it_stands(&self) {
        if self.store.head() == Some(self.room.position()) {
            assert_eq!(self.room.document(), self.store.document());
        }
    }

    fn room_is_the_store(&self) {
        match self.store.head() {
            Some(head) => assert_eq!(self.room.position(), head),
            None => assert_eq!(self.room.position().seq, Seq(0)),
        }
        assert_eq!(*self.room.document(), self.store.fold());
        assert!(!self.room.awaits_store());
    }

    fn newcomer_is_told_everything(&mut self) {
        let request_id = "newcomer".to_owned();
        for command in
            [Command::Subscribe { request_id, replay: false }, Command::AwarenessSubscribe]
        {
            let mut effects = Vec::new();
            let input = RoomInput::Command { session: NEWCOMER, handle: NEWCOMER, command };
            self.room.handle(input, &mut effects);
            let [RoomEffect::Send(NEWCOMER, message)] = effects.as_slice() else {
                panic!("a newcomer is answered by {effects:?}");
            };
            crate::frames::message_can_be_read(message);
            match message {
                ServerMessage::SyncResponse { state, .. } => {
                    assert_eq!(fields_of(state.as_str()), self.live_fields());
                }
                ServerMessage::AwarenessState { states, .. } => {
                    assert!(states.len() <= AWARENESS_ENTRIES_MAX);
                }
                other => panic!("a newcomer is told {other:?}"),
            }
        }
    }

    fn live_fields(&self) -> BTreeMap<String, String> {
        let fold = self.store.fold();
        let fields = fold.live_fields();
        fields.map(|(name, json)| (name.as_str().to_owned(), json.as_str().to_owned())).collect()
    }
}

impl Connection {
    /// Who follows a document shows what all edits add up to.
    fn shows_the_document(&self, place: &Place) {
        let follows = place.room.subscribers().any(|reader| *reader == self.id);
        if let Some(shown) = self.shown.get(&place.id).filter(|_| follows) {
            assert_eq!(*shown, place.live_fields(), "{:?}", self.id);
        }
    }
}
