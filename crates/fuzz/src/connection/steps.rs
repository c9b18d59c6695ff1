//! What a plan can do, one step after the other.

use synckit_engine::ids::{Millis, NodeId};
use synckit_engine::json::JsonText;
use synckit_engine::peer::PeerMessage;
use synckit_engine::position::Delivery;
use synckit_engine::room::{Input as RoomInput, StoredEdit};
use synckit_engine::session::Identity;
use synckit_engine::time::Now;
use synckit_engine::wire::message::Permissions;
use synckit_engine::wire::{ErrorCode, FrameKind};

use super::messages;
use super::world::{Answer, CONNECTIONS, Fate, GRACE_MS, Place, World};
use crate::input::Input;

/// What the model of the bus keeps of one document; the oldest message is lost.
const HEARD_MAX: usize = 16;

/// How far the clock goes in one step: past the grace of awareness, and past a minute of allowance.
const WAITS: [Millis; 4] = [1, GRACE_MS, 36_000, 61_000];

/// Of the same frame in a row: more than are held before authentication, or may be broken.
const TIMES_MAX: usize = 128;

impl World {
    /// One step. Free numbers stand for the commonest, so that inputs keep their meaning when a new
    /// step takes one.
    pub(super) fn step(&mut self, input: &mut Input<'_>) {
        let step = input.below(64);
        let at = usize::from(input.byte());
        let (connection, place) = (at % usize::from(CONNECTIONS), at % self.places.len());
        match step {
            0 => self.say_bytes(connection, input),
            1 => self.say_again(connection, input),
            2 => self.say_damaged(connection, input),
            3 => self.authenticated(connection, identity(input)),
            4 => self.replace(connection, !input.rarely()),
            5..8 => {
                let fate =
                    *input.pick(&[Fate::Stored, Fate::Refused, Fate::Lost, Fate::Unanswered]);
                self.places[place].take(usize::from(input.below(4)) + 1, fate);
            }
            8 | 9 => self.answer(place, usize::from(input.below(4)) + 1),
            10..14 => {
                self.places[place].take(usize::MAX, Fate::Stored);
                self.answer(place, usize::MAX);
            }
            14 | 15 => self.write_elsewhere(place, input),
            16 | 17 => self.hear(place, input),
            18 => self.places[place].look(),
            19 | 20 => self.answer_read(place),
            21 => {
                let head = self.places[place].store.head();
                self.tell(place, RoomInput::Head(head));
            }
            22 => self.wait(*input.pick(&WAITS)),
            23 => self.awareness_elsewhere(place, input),
            24 => self.tell_of_nodes(place, input),
            25 => self.places[place].store.delete(),
            26 => self.places[place].store.prune(usize::from(input.below(4))),
            27 if self.places[place].room.has_room() => {
                let delta = messages::foreign_delta(input, self.now.wall);
                self.tell(place, RoomInput::Merge(vec![delta]));
            }
            28 | 29 => self.end_window(place),
            30 => self.say_in_pieces(connection, input),
            _ => self.say(connection, input),
        }
    }

    fn frame(&mut self, input: &mut Input<'_>) -> (FrameKind, Vec<u8>) {
        self.last_serial += 1;
        messages::frame(input, self.now.wall, self.last_serial)
    }

    fn say(&mut self, connection: usize, input: &mut Input<'_>) {
        let (kind, bytes) = self.frame(input);
        self.receive(connection, kind, &bytes);
    }

    fn say_bytes(&mut self, connection: usize, input: &mut Input<'_>) {
        let kind = *input.pick(&[FrameKind::Text, FrameKind::Binary]);
        let bytes = input.bytes();
        // A socket hands on no text that is not UTF-8.
        if kind == FrameKind::Binary || std::str::from_utf8(bytes).is_ok() {
            self.receive(connection, kind, bytes);
        }
    }

    fn say_in_pieces(&mut self, connection: usize, input: &mut Input<'_>) {
        let (_, whole) = self.frame(input);
        let mut pieces = messages::pieces(input, &whole, self.last_serial);
        if input.rarely() {
            pieces.pop();
        }
        for piece in pieces {
            self.receive(connection, FrameKind::Text, &piece);
        }
    }

    fn say_again(&mut self, connection: usize, input: &mut Input<'_>) {
        let times = if input.rarely() { TIMES_MAX } else { 1 };
        for _ in 0..times {
            let Some((kind, bytes)) = self.connections[connection].last_frame.clone() else {
                break;
            };
            self.receive(connection, kind, &bytes);
        }
    }

    fn say_damaged(&mut self, connection: usize, input: &mut Input<'_>) {
        let (_, mut bytes) = self.frame(input);
        let at = usize::from(input.byte()) % bytes.len();
        bytes[at] = input.byte();
        if input.rarely() {
            bytes.truncate(at);
        }
        self.receive(connection, FrameKind::Binary, &bytes);
    }

    /// Another node stores an edit, and says so in one of several ways.
    fn write_elsewhere(&mut self, at: usize, input: &mut Input<'_>) {
        let delta = messages::foreign_delta(input, self.now.wall);
        let place = &mut self.places[at];
        let mut stored = place.store.append(vec![delta]);
        let Some((delta, Delivery::Stored(seq))) = stored.pop() else { return };
        let epoch = place.store.epoch();
        let telling = PeerMessage::Stored { epoch, deltas: vec![(seq, delta)] };
        match input.below(4) {
            0 => self.tell_of_node(at, telling),
            1 => place.keep(telling),
            2 => {
                place.store.head().into_iter().for_each(|head| place.keep(PeerMessage::Head(head)))
            }
            _ => {}
        }
    }

    /// The bus delivers something, in any order, maybe not for the last time.
    fn hear(&mut self, at: usize, input: &mut Input<'_>) {
        let heard = &mut self.places[at].heard;
        let which = usize::from(input.byte()) % heard.len().max(1);
        let is_last_time = !input.rarely();
        let message = if is_last_time { heard.remove(which) } else { heard.get(which).cloned() };
        if let Some(message) = message {
            self.tell_of_node(at, message);
        }
    }

    fn tell_of_node(&mut self, at: usize, message: PeerMessage) {
        let (node, now) = (NodeId::new("other"), self.now.moment);
        self.tell(at, RoomInput::Peer { node, message, now });
    }

    fn wait(&mut self, ms: Millis) {
        let Now { wall, moment } = self.now;
        self.now = Now { wall: wall + ms, moment: moment.after(ms) };
        for place in 0..self.places.len() {
            if self.places[place].room.next_tick().is_some_and(|at| at <= self.now.moment) {
                self.tell(place, RoomInput::Tick(self.now.moment));
            }
        }
    }

    fn awareness_elsewhere(&mut self, at: usize, input: &mut Input<'_>) {
        let client = messages::foreign_client(input);
        let is_here = !input.rarely();
        let state = JsonText::parse("{\"at\":1}").ok().filter(|_| is_here);
        let entries = vec![(client, state, u64::from(input.byte()))];
        let is_repeated = input.rarely();
        self.tell_of_node(at, PeerMessage::Awareness { is_repeated, entries });
    }

    fn tell_of_nodes(&mut self, at: usize, input: &mut Input<'_>) {
        let input = match input.below(4) {
            0 => RoomInput::NodeGone {
                node: NodeId::new("other"),
                until: self.now.moment.after(GRACE_MS),
            },
            1 => RoomInput::Resumed,
            2 => RoomInput::RepeatAwareness,
            _ => return self.tell_of_node(at, PeerMessage::AwarenessAsked),
        };
        self.tell(at, input);
    }
}

impl Place {
    /// The store comes to the next edits, and all of them have one fate.
    pub(super) fn take(&mut self, most: usize, fate: Fate) {
        let count = most.min(self.appends.len());
        for (ticket, deltas) in self.appends.drain(..count) {
            let length = deltas.len();
            let answer = match fate {
                Fate::Stored => {
                    let deltas = self.store.append(deltas);
                    Answer::Stored(self.store.epoch(), StoredEdit { ticket, deltas })
                }
                Fate::Refused => Answer::NotStored(ticket, ErrorCode::StorageRefused, length),
                Fate::Lost => Answer::NotStored(ticket, ErrorCode::StorageUnavailable, length),
                Fate::Unanswered => {
                    self.store.append(deltas);
                    Answer::NotStored(ticket, ErrorCode::StorageUnavailable, length)
                }
            };
            self.answers.push_back(answer);
        }
    }

    fn keep(&mut self, message: PeerMessage) {
        if self.heard.len() >= HEARD_MAX {
            self.heard.pop_front();
        }
        self.heard.push_back(message);
    }
}

/// Who shows up: everybody, someone with fewer rights, or nobody.
fn identity(input: &mut Input<'_>) -> Option<Identity> {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let (can_read, can_write, is_admin) = match input.below(6) {
        0 | 1 => return Some(Identity::anonymous()),
        2 => (list(&["doc-1"]), list(&["note-1"]), false),
        3 => (list(&["*"]), list(&[]), false),
        4 => (list(&[]), list(&[]), true),
        _ => return None,
    };
    let permissions = Permissions { can_read, can_write, is_admin };
    Some(Identity { user: "ann".to_owned(), permissions })
}
