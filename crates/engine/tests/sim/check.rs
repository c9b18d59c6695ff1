//! What must hold: some of it after every step, the rest when everything has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use synckit_engine::delta::Changes;
use synckit_engine::document::collections::Collections;
use synckit_engine::position::Position;
use synckit_engine::room::{Command, Effect, Input};
use synckit_engine::wire::ServerMessage;

use crate::client::Kind;
use crate::node::Slot;
use crate::store::EditKey;
use crate::world::{EDIT_DELTAS_MAX, World};

/// Asks rooms who is present, and belongs to nobody.
const OBSERVER: synckit_engine::ids::SessionId = synckit_engine::ids::SessionId(u64::MAX);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Invariant {
    NothingPanics,
    /// What is acknowledged is in the store.
    AcknowledgedIsStored,
    /// No edit is in a document twice.
    StoredOnce,
    /// A room shows exactly the history up to its position, which only rises within an epoch.
    RoomIsAPrefix,
    /// A room shows what it stored itself, though nobody tells it of what it missed.
    OwnEditsAreShown,
    /// Edits under way are within the limits, and one read at most.
    MemoryIsBounded,
    /// When all is healed, things come to rest.
    ComesToRest,
    /// Then every edit of every client is acknowledged.
    EverythingIsAnswered,
    /// Then nothing is lost that a room held when a standby took over without it.
    TakeoversLoseNothing,
    /// Then store, rooms and clients hold the same document.
    EverybodyAgrees,
    /// Then the last a connection was told of each field is its value.
    NobodyMissesAValue,
    /// Then all rooms and watchers see who is connected, and nobody else.
    AwarenessIsRight,
}

#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    pub(crate) what: String,
}

impl World {
    pub(crate) fn violate(&mut self, invariant: Invariant, what: String) {
        self.note(|| format!("violated: {invariant:?}: {what}"));
        self.violation.get_or_insert(Violation { invariant, what });
    }

    pub(crate) fn check_acknowledgement(&mut self, message_id: &str) {
        let Some((document, edits)) = self.edits.get(message_id) else { return };
        let is_lost = |(key, changes): &&(EditKey, Changes)| match changes {
            Changes::Text(text) => !self.store.has_text(*document, text),
            _ => !self.store.has_taken(*document, key),
        };
        if let Some(lost) = edits.iter().find(is_lost) {
            let what = format!("{message_id} is acknowledged, but {lost:?} is not stored");
            self.violate(Invariant::AcknowledgedIsStored, what);
        }
    }

    pub(crate) fn check_store(&mut self) {
        if let Some(key) = self.store.doubled.take() {
            self.violate(Invariant::StoredOnce, format!("{key:?} is there under two ids"));
        }
    }

    /// A room against the history, after every input to it.
    pub(crate) fn check_room(&mut self, node: usize, document: usize) {
        let Some(slot) = self.nodes[node].slots.get_mut(&document) else { return };
        let Some(room) = &slot.room else { return };
        let position = room.position();
        let before = std::mem::replace(&mut slot.before, position);
        let fell_back = before.epoch == position.epoch && before.seq > position.seq;
        let nothing = synckit_engine::document::Document::new();
        let expected = match self.store.state_at(document, position) {
            None if position.seq.0 == 0 => Some(&nothing),
            expected => expected,
        };
        let is_prefix = expected == Some(room.document());
        // The room takes one more edit while it has place for a delta.
        let most = self.plan.limits.edits_in_flight_max + EDIT_DELTAS_MAX;
        let in_flight: usize = slot.tickets.values().sum();
        let instance = slot.instance;
        let reads = self.nodes[node].reads.iter().filter(|read| read.instance == instance).count();
        let at = || format!("the room of document {document} on node {node} at {position:?}");
        if fell_back {
            self.violate(Invariant::RoomIsAPrefix, format!("{} fell back from {before:?}", at()));
        } else if !is_prefix {
            self.violate(Invariant::RoomIsAPrefix, format!("{} shows another history", at()));
        } else if in_flight >= most {
            let what = format!("{} has {in_flight} deltas under way", at());
            self.violate(Invariant::MemoryIsBounded, what);
        } else if reads > 1 {
            self.violate(Invariant::MemoryIsBounded, format!("{} reads {reads} times", at()));
        }
    }

    /// Rooms against what they stored, before they are compared with the store.
    pub(crate) fn check_own_edits(&mut self) {
        let mut hidden = Vec::new();
        for (node, slots) in self.nodes.iter().map(|node| &node.slots).enumerate() {
            for (document, slot) in slots {
                let Some(room) = &slot.room else { continue };
                let (here, last) = (room.position(), slot.stored_at);
                // What went to a life that is over is read by nobody.
                let lives = self.store.head(*document).is_some_and(|it| it.epoch == last.epoch);
                if lives && (here.epoch != last.epoch || here.seq < last.seq) {
                    hidden.push(format!(
                        "the room of document {document} on node {node} is at {here:?}, \
                         its last edit is stored at {last:?}"
                    ));
                }
            }
        }
        for what in hidden {
            self.violate(Invariant::OwnEditsAreShown, what);
        }
    }

    /// Everything, when all has come to rest.
    pub(crate) fn check_end(&mut self) {
        for document in 0..self.plan.documents {
            let head = self.store.load(document);
            let live: BTreeMap<_, _> = head
                .document
                .live_fields()
                .map(|(field, json)| (field.to_string(), json.as_str().to_owned()))
                .collect();
            for at in 0..self.clients.len() {
                self.check_client(at, document, &live);
                self.check_collections(at, document, head.document.collections());
            }
            for node in 0..self.nodes.len() {
                self.check_resting_room(node, document, head.position);
            }
        }
        (0..self.plan.documents).for_each(|document| self.check_awareness(document));
        self.check_takeovers();
    }

    fn check_collections(&mut self, at: usize, document: usize, stored: &Collections) {
        let client = &self.clients[at];
        let view = &client.views[document];
        let set: BTreeSet<_> = stored.set().elements().map(|it| it.as_str().to_owned()).collect();
        // Nothing takes a text back from a client that holds it.
        let is_new_life = self.store.deletions > 0 || self.store.takeovers > 0;
        let may_hold_more = is_new_life && client.kind == Kind::Plain;
        let shows_text = view.text == *stored.text() || may_hold_more;
        if view.set != set || !shows_text {
            let what = format!(
                "{} has the set {:?} and the text {:?}, stored is {set:?} and {:?}",
                client.name,
                view.set,
                view.text,
                stored.text()
            );
            self.violate(Invariant::EverybodyAgrees, what);
        }
    }

    fn check_client(&mut self, at: usize, document: usize, live: &BTreeMap<String, String>) {
        let client = &self.clients[at];
        let (name, kind, view) = (&client.name, client.kind, &client.views[document]);
        if !view.unacknowledged.is_empty() {
            let what = format!("{name} still waits for {:?}", view.unacknowledged);
            self.violate(Invariant::EverythingIsAnswered, what);
        } else if view.told.as_ref() != Some(live) {
            let what = format!("{name} was told {:?}, stored is {live:?}", view.told);
            self.violate(Invariant::NobodyMissesAValue, what);
        } else if !view.shows(kind, live) {
            let what = format!("{name} ({kind:?}) shows {:?}, stored is {live:?}", view.shown);
            self.violate(Invariant::EverybodyAgrees, what);
        }
    }

    fn check_resting_room(&mut self, node: usize, document: usize, head: Position) {
        let Some(Slot { room: Some(room), .. }) = self.nodes[node].slots.get(&document) else {
            return;
        };
        let position = room.position();
        // The epoch of a document that nobody has written means nothing.
        if position != head && (position.seq.0, head.seq.0) != (0, 0) {
            let what =
                format!("document {document} on node {node} is at {position:?}, not {head:?}");
            self.violate(Invariant::EverybodyAgrees, what);
        } else if !format!("{room:?}").contains("arrived: {}") {
            let what = format!("document {document} on node {node} keeps deltas that nobody needs");
            self.violate(Invariant::MemoryIsBounded, what);
        }
    }

    fn check_awareness(&mut self, document: usize) {
        let present: BTreeMap<_, _> = self
            .clients
            .iter()
            .filter_map(|client| {
                let state = client.views[document].awareness.clone();
                Some((client.name.clone(), state?))
            })
            .collect();
        let mut seen = Vec::new();
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let Some(room) = node.slots.get_mut(&document).and_then(|slot| slot.room.as_mut())
            else {
                continue;
            };
            let (session, mut effects) = (OBSERVER, Vec::new());
            let command = Command::AwarenessSubscribe;
            room.handle(Input::Command { session, handle: session, command }, &mut effects);
            for effect in effects {
                if let Effect::Send(_, ServerMessage::AwarenessState { states, .. }) = effect {
                    let states = states.into_iter();
                    let states =
                        states.map(|one| (one.client.to_string(), one.state.as_str().to_owned()));
                    seen.push((format!("node {at}"), states.collect::<BTreeMap<_, _>>()));
                }
            }
        }
        for client in &self.clients {
            // What an answer to one's own first awareness leaves out is oneself.
            let mut others = client.views[document].others.clone().unwrap_or_default();
            let own = present.get(&client.name).cloned();
            others.extend(own.map(|state| (client.name.clone(), state)));
            seen.push((client.name.clone(), others));
        }
        let names = |of: &BTreeMap<String, String>| of.keys().cloned().collect::<BTreeSet<_>>();
        for (who, others) in seen {
            if others != present {
                let what = format!(
                    "{who} sees {others:?} in document {document}, present is {present:?} \
                     (missing: {:?}, too many: {:?})",
                    names(&present).difference(&names(&others)).collect::<Vec<_>>(),
                    names(&others).difference(&names(&present)).collect::<Vec<_>>(),
                );
                self.violate(Invariant::AwarenessIsRight, what);
            }
        }
    }
}
