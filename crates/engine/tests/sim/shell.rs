//! What the server does around its rooms: it feeds them, carries out what they say, commits in
//! groups and reads.

use std::sync::Arc;

use synckit_engine::ids::{NodeId, SessionId};
use synckit_engine::peer::PeerMessage;
use synckit_engine::position::{Delivery, Epoch, Seq};
use synckit_engine::room::{Command, Effect, Input, Room, StoredEdit, Window};
use synckit_engine::snapshot::Snapshot;
use synckit_engine::wire::{ErrorCode, ServerMessage};

use crate::node::{Answer, Read, ReadOf, Slot, Ticket, moment};
use crate::plan::GRACE_MS;
use crate::sabotage::Sabotage;
use crate::store::Missing;
use crate::world::World;

impl World {
    /// Opens a document: what others say of it is kept from now on, until it is loaded.
    pub(crate) fn load(&mut self, node: usize, document: usize, instance: u64) {
        let node = &mut self.nodes[node];
        node.slots.insert(document, Slot::new(instance));
        node.reads.push(Read { document, instance, of: ReadOf::Load, answer: None });
    }

    /// Gives an input to a room that is open, and does what it says.
    pub(crate) fn give(&mut self, node: usize, document: usize, input: Input<SessionId>) {
        self.note(|| format!("room {document} on node {node} takes {input:?}"));
        let Some(slot) = self.nodes[node].slots.get_mut(&document) else { return };
        let Some(room) = &mut slot.room else { return };
        let mut effects = Vec::new();
        room.handle(input, &mut effects);
        let all = |handles: Vec<&SessionId>| handles.into_iter().copied().collect::<Vec<_>>();
        let subscribers = all(room.subscribers().collect());
        let watchers = all(room.watchers().collect());
        let instance = slot.instance;
        for effect in effects {
            match effect {
                Effect::Send(session, message) => {
                    if let ServerMessage::Ack { message_id } = &message {
                        self.check_acknowledgement(message_id);
                    }
                    self.send(session, message);
                }
                Effect::Broadcast(message) => {
                    for session in &subscribers {
                        let is_lost = self.plan.is(Sabotage::DropDeltas) && self.random.chance(10);
                        if !is_lost {
                            self.show(node, document, *session, &message);
                        }
                    }
                }
                Effect::Relay(client, message) => {
                    let room = self.nodes[node].slots[&document].room.as_ref().unwrap();
                    let others = all(room.others(&client).collect());
                    others.iter().for_each(|session| self.send(*session, message.clone()));
                }
                Effect::HistoryChanged { .. } => {}
                Effect::Open(Window::Recent, ms) => {
                    let slot = self.nodes[node].slots.get_mut(&document).unwrap();
                    slot.recent_until = Some(self.now + ms);
                }
                Effect::Open(window, _) => {
                    let slot = self.nodes[node].slots.get_mut(&document).unwrap();
                    slot.windows.push(window);
                }
                Effect::BroadcastAwareness(message) => {
                    for session in &watchers {
                        self.show(node, document, *session, &message);
                    }
                }
                Effect::Append { ticket, deltas } => {
                    let slot = self.nodes[node].slots.get_mut(&document).unwrap();
                    slot.tickets.insert(ticket, deltas.len());
                    let ticket = Ticket { document, instance, id: ticket, deltas };
                    self.nodes[node].lane.push_back(ticket);
                }
                Effect::Fetch(after) => self.ask(node, document, instance, ReadOf::After(after)),
                Effect::Reload => self.ask(node, document, instance, ReadOf::Document),
                Effect::Publish(message) => self.publish(node, Some(document), &message),
            }
        }
        self.check_room(node, document);
    }

    fn ask(&mut self, node: usize, document: usize, instance: u64, of: ReadOf) {
        if !self.plan.is(Sabotage::ForgetReads) {
            self.nodes[node].reads.push(Read { document, instance, of, answer: None });
        }
    }

    pub(crate) fn publish(&mut self, node: usize, document: Option<usize>, message: &PeerMessage) {
        let from = (node, &self.nodes[node].id);
        self.bus.publish(from, document, message, &self.plan, &mut self.random);
    }

    fn send(&mut self, session: SessionId, message: ServerMessage) {
        if let Some(connection) = self.connections.get_mut(&session) {
            connection.to_client.push_back(message);
        }
    }

    /// Sends what a later message replaces, or has it noted for a client that lags.
    fn show(&mut self, node: usize, document: usize, session: SessionId, message: &ServerMessage) {
        let Some(connection) = self.connections.get_mut(&session) else { return };
        connection.is_lagging |= connection.to_client.len() > self.plan.lags_at;
        if connection.is_lagging {
            let room = self.nodes[node].slots.get_mut(&document).unwrap().room.as_mut();
            assert!(room.unwrap().miss(session, message), "{message:?} can't be made up for");
        } else {
            connection.to_client.push_back(message.clone());
        }
    }

    /// A client has read what waited for it, so its rooms are asked for what it missed.
    pub(crate) fn catch_up(&mut self, session: SessionId) {
        let connection = self.connections.get_mut(&session).unwrap();
        if !std::mem::take(&mut connection.is_lagging) || self.plan.is(Sabotage::ForgetCatchUp) {
            return;
        }
        for slot in self.nodes[connection.node].slots.values_mut() {
            slot.mailbox.push_back((session, Command::CatchUp));
        }
    }

    /// A room takes one command from its mailbox, if it has place for it.
    pub(crate) fn feed_room(&mut self, node: usize, document: usize) -> bool {
        let ignores = self.plan.is(Sabotage::IgnoreBackPressure);
        let Some(slot) = self.nodes[node].slots.get_mut(&document) else { return false };
        let takes = slot.room.as_ref().is_some_and(|room| ignores || room.has_room());
        let Some((session, command)) = slot.mailbox.pop_front_if(|_| takes) else { return false };
        self.give(node, document, Input::Command { session, handle: session, command });
        true
    }

    /// A node notices the end of a connection.
    pub(crate) fn notice_end(&mut self, node: usize) -> bool {
        if self.nodes[node].closing.is_empty() {
            return false;
        }
        let at = self.random.below(self.nodes[node].closing.len());
        let session = self.nodes[node].closing.remove(at);
        self.note(|| format!("node {node} notices the end of {}", session.0));
        self.connections.remove(&session);
        let until = moment(self.now + GRACE_MS);
        for slot in self.nodes[node].slots.values_mut() {
            slot.mailbox.push_back((session, Command::Vanish { until }));
        }
        true
    }

    /// A node's committer tries to store a group.
    pub(crate) fn append(&mut self, node: usize) -> bool {
        self.nodes[node].take_group(&mut self.random);
        if self.nodes[node].group.is_empty() {
            return false;
        }
        let fails = !self.store.is_up || self.random.chance(self.plan.store_fails);
        let is_taken = self.store.is_up && (!fails || self.random.chance(50));
        let gives_up = fails && self.random.chance(40);
        let group = std::mem::take(&mut self.nodes[node].group);
        self.note(|| {
            let ids: Vec<_> = group.iter().map(|ticket| (ticket.instance, ticket.id)).collect();
            format!("node {node} appends {ids:?}: taken {is_taken}, fails {fails}, ends {gives_up}")
        });
        let is_early = self.plan.is(Sabotage::AnswerBeforeAppend) && self.random.chance(5);
        if is_early {
            self.promise(node, group);
            return true;
        }
        let stored = if is_taken { self.store_group(&group) } else { Vec::new() };
        if is_taken {
            self.nodes[node].note_stored(&group, &stored);
        }
        if !fails {
            self.answer_group(node, group, stored);
        } else if self.plan.is(Sabotage::ForgetLostReplies) && is_taken {
            // Nobody ever hears of them again.
        } else if gives_up {
            for Ticket { document, instance, id, .. } in group {
                let code = ErrorCode::StorageUnavailable;
                let input = Input::NotStored { tickets: vec![id], code };
                self.nodes[node].answers.push(Answer { document, instance, input });
            }
        } else {
            self.nodes[node].group = group;
        }
        true
    }

    pub(crate) fn store_group(&mut self, group: &[Ticket]) -> Vec<(Epoch, Vec<Delivery>)> {
        let store = |ticket: &Ticket| {
            let epoch = self.new_epoch();
            self.store.append(ticket.document, epoch, &ticket.deltas)
        };
        let stored = group.iter().map(store).collect();
        self.check_store();
        stored
    }

    /// One answer for each run of edits of one room.
    fn answer_group(
        &mut self,
        node: usize,
        group: Vec<Ticket>,
        stored: Vec<(Epoch, Vec<Delivery>)>,
    ) {
        let answers = &mut self.nodes[node].answers;
        let first_new = answers.len();
        for (ticket, (life, deliveries)) in group.into_iter().zip(stored) {
            let Ticket { document, instance, id, deltas } = ticket;
            let edit =
                StoredEdit { ticket: id, deltas: deltas.into_iter().zip(deliveries).collect() };
            let known = answers[first_new..].iter_mut().find(|known| known.instance == instance);
            match known.map(|known| &mut known.input) {
                Some(Input::Stored { edits, .. }) => edits.push(edit),
                _ => {
                    let input = Input::Stored { epoch: life, edits: vec![edit] };
                    answers.push(Answer { document, instance, input });
                }
            }
        }
    }

    /// Sabotage: answers with the numbers that the deltas should get, and dies.
    fn promise(&mut self, node: usize, group: Vec<Ticket>) {
        let mut promised = Vec::new();
        for ticket in &group {
            let head = self.store.head(ticket.document).unwrap_or_default();
            let numbers = (head.seq.0 + 1..).map(|seq| Delivery::Stored(Seq(seq)));
            promised.push((head.epoch, numbers.take(ticket.deltas.len()).collect()));
        }
        self.answer_group(node, group, promised);
        while self.answer_edit(node) {}
        self.crash(node);
    }

    pub(crate) fn answer_edit(&mut self, node: usize) -> bool {
        let Some(answer) = self.nodes[node].next_answer(&mut self.random) else { return false };
        if self.is_open(node, &answer) {
            let tickets = match &answer.input {
                Input::Stored { edits, .. } => edits.iter().map(|edit| edit.ticket).collect(),
                Input::NotStored { tickets, .. } => tickets.clone(),
                other => panic!("no answer to an edit: {other:?}"),
            };
            self.redeem(node, answer.document, &tickets);
            self.give(node, answer.document, answer.input);
        }
        true
    }

    pub(crate) fn is_open(&self, node: usize, answer: &Answer) -> bool {
        let slot = self.nodes[node].slots.get(&answer.document);
        slot.is_some_and(|slot| slot.instance == answer.instance)
    }

    /// The store answers a read, or fails it, which is then tried again.
    pub(crate) fn read(&mut self, node: usize) -> bool {
        let Some(at) = self.nodes[node].pick_read(false, &mut self.random) else { return false };
        if !self.store.is_up || self.random.chance(self.plan.store_fails) {
            return true;
        }
        let Read { document, of, .. } = self.nodes[node].reads[at];
        let answer = match of {
            ReadOf::Load | ReadOf::Document => Input::Reloaded(self.store.load(document)),
            ReadOf::After(position) => match self.store.missing(document, position) {
                Missing::Deltas(deltas) => Input::Fetched(deltas),
                Missing::Document(loaded) => Input::Reloaded(loaded),
            },
        };
        self.nodes[node].reads[at].answer = Some(answer);
        true
    }

    pub(crate) fn answer_read(&mut self, node: usize) -> bool {
        let Some(at) = self.nodes[node].pick_read(true, &mut self.random) else { return false };
        let Read { document, instance, of, answer } = self.nodes[node].reads.remove(at);
        let Some(input) = answer else { return false };
        let answer = Answer { document, instance, input };
        if self.is_open(node, &answer) {
            match (of, answer.input) {
                (ReadOf::Load, Input::Reloaded(loaded)) => self.start_room(node, document, loaded),
                (_, input) => self.give(node, document, input),
            }
        }
        true
    }

    fn start_room(&mut self, node: usize, document: usize, loaded: Snapshot) {
        self.note(|| format!("room {document} on node {node} starts at {:?}", loaded.position));
        let mut room = Room::new(self.ids[document].clone(), loaded, self.plan.limits.clone());
        if self.plan.store_falls_back && !self.plan.is(Sabotage::ForgetRecent) {
            room = room.remembering(Arc::clone(&self.nodes[node].recent));
        }
        let slot = self.nodes[node].slots.get_mut(&document).unwrap();
        slot.room = Some(room);
        let early = std::mem::take(&mut slot.early);
        self.give(node, document, Input::Resumed);
        for (from, message) in early {
            self.hear_peer(node, document, from, message);
        }
    }

    /// The bus delivers one message.
    pub(crate) fn carry(&mut self) -> bool {
        if self.bus.flights.is_empty() {
            return false;
        }
        let Some(flight) = self.bus.arrive(&self.plan, &mut self.random) else { return true };
        let (_, message) = PeerMessage::decode(&flight.bytes).unwrap();
        let node = &mut self.nodes[flight.to];
        let Some(document) = flight.document.filter(|_| node.is_up) else {
            node.heard.insert(flight.from, self.now);
            return true;
        };
        if let Some(slot) = node.slots.get_mut(&document) {
            if slot.room.is_none() {
                slot.early.push((flight.from, message));
            } else {
                self.hear_peer(flight.to, document, flight.from, message);
            }
        }
        true
    }

    fn hear_peer(&mut self, node: usize, document: usize, from: NodeId, message: PeerMessage) {
        let mut message = message;
        if let PeerMessage::Stored { deltas, .. } = &mut message
            && self.plan.is(Sabotage::HideGaps)
        {
            let next = self.nodes[node].slots[&document].room.as_ref().unwrap().position().seq.0;
            for (n, (seq, _)) in (1..).zip(deltas) {
                *seq = Seq(seq.0.min(next + n));
            }
        }
        self.give(node, document, Input::Peer { node: from, message, now: moment(self.now) });
    }
}
