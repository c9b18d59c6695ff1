//! What happens in the world, and what must hold while it does.

use std::collections::BTreeMap;

use synckit_engine::ids::{ClientId, Millis, SessionId};
use synckit_engine::limits::Limits;
use synckit_engine::position::Epoch;
use synckit_engine::room::{self, Command, Input as RoomInput, StoredEdit};
use synckit_engine::session::{self, Identity, Session};
use synckit_engine::time::{Moment, Now};
use synckit_engine::wire::{CloseCode, FrameKind, Framing, ServerMessage, decode};

use super::checks;
use super::messages::DOCUMENTS;
use super::world::{Answer, CONNECTIONS, Connection, Fate, GRACE_MS, Held, Place, Read, World};
use crate::input::Input;

const STARTS_AT: Millis = 1_700_000_000_000;

/// Rounds in which everything that is under way must be over, besides one for each command that waits.
const REST_ROUNDS_MAX: usize = 64;

impl World {
    /// The first byte sets the limits and says who is authenticated from the start.
    pub(super) fn new(input: &mut Input<'_>) -> Self {
        let settings = input.byte();
        let limits = Limits {
            subscriptions_max: 2,
            edits_in_flight_max: if settings & 1 == 0 { 4 } else { 64 },
            messages_per_minute: if settings & 2 == 0 { 0 } else { 10 },
            ..Limits::default()
        };
        let places = DOCUMENTS.iter().map(|name| Place::new(name, &limits, settings & 4 == 0));
        let places = places.collect();
        let connections = Vec::new();
        let now = Now { wall: STARTS_AT, moment: Moment(0) };
        let mut world = Self { now, limits, connections, places, last_session: 0, last_serial: 0 };
        for number in 0..CONNECTIONS {
            let is_open = settings & (8 << number) == 0;
            let connection = world.connect(is_open);
            world.connections.push(connection);
        }
        world
    }

    fn connect(&mut self, is_open: bool) -> Connection {
        self.last_session += 1;
        let id = SessionId(self.last_session);
        let name = ClientId::new(&format!("node-{}", id.0)).unwrap_or_else(|rule| panic!("{rule}"));
        let identity = is_open.then(Identity::anonymous);
        Connection {
            id,
            session: Session::new(id, name, identity, self.limits.clone()),
            is_open,
            is_closed: false,
            asked: 0,
            held: Held::default(),
            owed: BTreeMap::new(),
            shown: BTreeMap::new(),
            last_frame: None,
        }
    }

    /// A connection ends without a word, and another takes its place.
    pub(super) fn replace(&mut self, at: usize, is_open: bool) {
        let next = self.connect(is_open);
        let gone = std::mem::replace(&mut self.connections[at], next);
        let until = self.now.moment.after(GRACE_MS);
        for place in 0..self.places.len() {
            self.post(place, gone.id, Command::Vanish { until });
        }
    }

    pub(super) fn receive(&mut self, at: usize, kind: FrameKind, bytes: &[u8]) {
        let connection = &mut self.connections[at];
        let read = decode(Framing::of(kind, bytes), bytes);
        let mut effects = Vec::new();
        connection.session.receive(self.now, kind, bytes, &mut effects);
        checks::framing_follows(connection, kind, bytes);
        checks::frame_is_answered_once(connection, &read, bytes.len(), &effects);
        connection.last_frame = Some((kind, bytes.to_vec()));
        self.perform(at, effects);
    }

    pub(super) fn authenticated(&mut self, at: usize, identity: Option<Identity>) {
        let connection = &mut self.connections[at];
        if connection.asked == 0 {
            return;
        }
        connection.asked -= 1;
        let mut effects = Vec::new();
        let is_known = identity.is_some();
        connection.session.authenticated(self.now, identity, &mut effects);
        if is_known && !connection.is_open {
            connection.is_open = true;
            checks::held_messages_are_answered(&connection.held, &effects);
            connection.held = Held::default();
        }
        self.perform(at, effects);
    }

    fn perform(&mut self, at: usize, effects: Vec<session::Effect>) {
        let session = self.connections[at].id;
        for effect in effects {
            match effect {
                session::Effect::Reply(message) => crate::frames::message_can_be_read(&message),
                session::Effect::Forward { document, command } => {
                    // Only some documents have a room.
                    let place = self.places.iter().position(|place| place.id == document);
                    let Some(place) = place else { continue };
                    if let Command::Edit { message_id, .. } = &command {
                        *self.connections[at].owed.entry(message_id.clone()).or_default() += 1;
                    }
                    self.post(place, session, command);
                }
                session::Effect::Authenticate { .. } => self.connections[at].asked += 1,
                session::Effect::Close { code, .. } => {
                    assert!((1000..=1013).contains(&CloseCode::code(code)));
                    self.connections[at].is_closed = true;
                    break;
                }
            }
        }
        if self.connections[at].is_closed {
            self.replace(at, true);
        }
    }

    fn post(&mut self, place: usize, session: SessionId, command: Command) {
        self.places[place].mailbox.push_back((session, command));
        self.pump(place);
    }

    /// Gives a room the commands that it has room for.
    pub(super) fn pump(&mut self, place: usize) {
        while self.places[place].room.has_room() {
            let Some((session, command)) = self.places[place].mailbox.pop_front() else { break };
            if matches!(command, Command::Leave) {
                let document = self.places[place].id.clone();
                if let Some(connection) = self.find(session) {
                    connection.shown.remove(&document);
                }
            }
            self.tell(place, RoomInput::Command { session, handle: session, command });
        }
    }

    /// Gives a room one input and does what it asks for.
    pub(super) fn tell(&mut self, place: usize, input: RoomInput<SessionId>) {
        let mut effects = Vec::new();
        let room = &mut self.places[place].room;
        let before = room.position();
        room.handle(input, &mut effects);
        checks::position_only_rises(before, room.position());
        for effect in effects {
            self.do_for_room(place, effect);
        }
    }

    fn do_for_room(&mut self, at: usize, effect: room::Effect) {
        let place = &mut self.places[at];
        match effect {
            room::Effect::Send(session, message) => self.deliver(&[session], &message),
            room::Effect::Broadcast(message) => {
                let readers: Vec<_> = place.room.subscribers().copied().collect();
                self.deliver(&readers, &message);
            }
            room::Effect::BroadcastAwareness(message) => {
                let readers: Vec<_> = place.room.watchers().copied().collect();
                self.deliver(&readers, &message);
            }
            room::Effect::Relay(writer, message) => {
                let readers: Vec<_> = place.room.others(&writer).copied().collect();
                self.deliver(&readers, &message);
            }
            room::Effect::Open(window, _) => {
                assert!(!place.windows.contains(&window), "{window:?} is open already");
                place.windows.push(window);
            }
            room::Effect::Append { ticket, deltas } => place.appends.push_back((ticket, deltas)),
            room::Effect::Fetch(after) => {
                assert!(place.read.is_none(), "two reads at once");
                place.read = Some(Read::After(after));
            }
            room::Effect::Reload => {
                assert!(place.read.is_none(), "two reads at once");
                place.read = Some(Read::Document);
            }
            room::Effect::Publish(message) => checks::nodes_can_read(&message),
            room::Effect::HistoryChanged { .. } => {}
        }
    }

    fn deliver(&mut self, readers: &[SessionId], message: &ServerMessage) {
        crate::frames::message_can_be_read(message);
        for reader in readers {
            if let Some(connection) = self.find(*reader) {
                connection.told(message);
            }
        }
    }

    fn find(&mut self, session: SessionId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.id == session)
    }

    /// Everything under way ends well, and the rooms look whether they missed anything.
    pub(super) fn come_to_rest(&mut self) {
        let waiting: usize = self.places.iter().map(|place| place.mailbox.len()).sum();
        for _ in 0..REST_ROUNDS_MAX + waiting {
            let mut is_busy = false;
            for place in 0..self.places.len() {
                is_busy |= self.finish(place);
            }
            if !is_busy {
                return;
            }
        }
        panic!("does not come to rest: {:?}", self.places);
    }

    /// Whether anything was to be done.
    fn finish(&mut self, at: usize) -> bool {
        let place = &self.places[at];
        let is_settled = place.mailbox.is_empty()
            && place.appends.is_empty()
            && place.answers.is_empty()
            && place.read.is_none()
            && place.windows.is_empty();
        if is_settled {
            self.tell(at, RoomInput::Head(self.places[at].store.head()));
            return self.places[at].read.is_some();
        }
        self.places[at].take(usize::MAX, Fate::Stored);
        self.answer(at, usize::MAX);
        self.answer_read(at);
        self.end_window(at);
        self.pump(at);
        true
    }

    /// The window that has been open for longest is over.
    pub(super) fn end_window(&mut self, at: usize) {
        if !self.places[at].windows.is_empty() {
            let window = self.places[at].windows.remove(0);
            self.tell(at, RoomInput::Over(window));
        }
    }

    /// Tells a room of up to `most` answers of the store, as many in one as the store would.
    pub(super) fn answer(&mut self, at: usize, most: usize) {
        let count = most.min(self.places[at].answers.len());
        let answers: Vec<_> = self.places[at].answers.drain(..count).collect();
        let mut together: Option<(Epoch, Vec<StoredEdit>)> = None;
        for answer in answers {
            match (answer, &mut together) {
                (Answer::Stored(epoch, edit), Some((of, edits))) if epoch == *of => {
                    edits.push(edit)
                }
                (Answer::Stored(epoch, edit), _) => {
                    let earlier = together.replace((epoch, vec![edit]));
                    self.tell_stored(at, earlier);
                }
                (Answer::NotStored(ticket, code, _), _) => {
                    let earlier = together.take();
                    self.tell_stored(at, earlier);
                    self.tell(at, RoomInput::NotStored { tickets: vec![ticket], code });
                }
            }
        }
        self.tell_stored(at, together);
        self.pump(at);
    }

    fn tell_stored(&mut self, at: usize, stored: Option<(Epoch, Vec<StoredEdit>)>) {
        if let Some((epoch, edits)) = stored {
            self.tell(at, RoomInput::Stored { epoch, edits });
        }
    }

    pub(super) fn answer_read(&mut self, at: usize) {
        self.places[at].look();
        if let Some(Read::Done(answer)) = self.places[at].read.take() {
            self.tell(at, answer);
        }
    }
}
