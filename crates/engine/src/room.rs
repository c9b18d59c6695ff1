//! One document with everybody who has it open.
//!
//! Synchronous and without IO. Its state is always a prefix of the stored history: an edit is
//! given to the store first, and applied, acknowledged and sent out when the store has numbered
//! it. Deltas that others stored in between show as a gap in the numbers and are fetched.

mod dirty;
mod lag;
mod messages;
mod peers;
mod presence;
mod windows;

use std::collections::{BTreeMap, BTreeSet};

use crate::awareness::Awareness;
use crate::clock::VectorClock;
use crate::delta::{Changes, Delta, DeltaId};
use crate::document::Document;
use crate::ids::{ClientId, DocumentId, Millis, NodeId, SessionId};
use crate::json::JsonText;
use crate::limits::{
    FEEDBACK_CLIENTS_MAX, FORMAT_BYTES_MAX, Limits, SESSION_WRITERS_MAX, TEXT_BLOCKS_MAX,
    counter_may_follow,
};
use crate::peer::PeerMessage;
use crate::position::{Arrival, Delivery, Epoch, Position, Seq};
use crate::snapshot::Snapshot;
use crate::wire::{ErrorCode, ErrorReply, ServerMessage};
use dirty::Dirty;
use windows::WaitingPresence;
pub use windows::Window;

use lag::Lag;

/// Bytes of edits of one document on their way to the store at once.
const EDIT_BYTES_IN_FLIGHT_MAX: usize = 16 << 20;

/// Deltas kept because others are missing before them. Past it they are read again instead.
const ARRIVED_MAX: usize = 10_000;

/// An edit that still needs its number among its client's, if the client gave none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Recognises a repeat.
    pub id: DeltaId,
    /// Who made it.
    pub client: ClientId,
    /// Its number among its client's.
    pub counter: Option<u64>,
    /// When, as far as the server believes it.
    pub timestamp: Millis,
    /// What it does.
    pub changes: Changes,
}

/// What a connection wants of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The whole state, and all changes from then on.
    Subscribe {
        /// What the answer names.
        request_id: String,
        /// Whether to send the fields one by one as well, for clients that read no state.
        replay: bool,
    },
    /// Store these, then acknowledge them together.
    Edit {
        /// What the acknowledgement names.
        message_id: String,
        /// In order; never empty.
        drafts: Vec<Draft>,
        /// Whether to send all changes from then on: the writer may read the document.
        follow: bool,
    },
    /// Everybody's presence, and all changes of it.
    AwarenessSubscribe,
    /// The presence of a client.
    AwarenessUpdate {
        /// Who.
        client: ClientId,
        /// Opaque; none: gone.
        state: Option<JsonText>,
        /// Lamport counter of the state.
        clock: u64,
    },
    /// The present values of what [`Room::miss`] noted.
    CatchUp,
    /// Nothing any more: it unsubscribed.
    Leave,
    /// Nothing any more: its connection is gone, and may be replaced by another.
    Vanish {
        /// Until when its clients count as present.
        until: Millis,
    },
}

/// Names one edit that was given to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketId(pub u64);

/// Deltas that were given to the store together, with what became of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Which edit.
    pub ticket: TicketId,
    /// Its deltas, in order.
    pub deltas: Vec<(Delta, Delivery)>,
}

/// What happens to a room.
#[derive(Debug)]
pub enum Input<H> {
    /// A connection wants something; its handle is kept until it leaves.
    Command {
        /// Which connection.
        session: SessionId,
        /// How the shell reaches it.
        handle: H,
        /// What it wants.
        command: Command,
    },
    /// The store has taken these edits, in the order in which they were given to it.
    Stored {
        /// The life of the document they went to.
        epoch: Epoch,
        /// The edits.
        edits: Vec<Stored>,
    },
    /// The store has not taken these edits, or does not say whether it has.
    NotStored {
        /// The edits.
        tickets: Vec<TicketId>,
        /// What the clients are told.
        code: ErrorCode,
    },
    /// The answer to [`Effect::Fetch`]: what comes after the room's position, without gaps.
    Fetched(Vec<(Seq, Delta)>),
    /// The answer to [`Effect::Reload`], or the state of a document whose history was pruned.
    Reloaded(Snapshot),
    /// Another node says something of this document.
    Peer {
        /// Which.
        node: NodeId,
        /// What.
        message: PeerMessage,
        /// The time.
        now: Millis,
    },
    /// Deltas of another node that shares no store with this one, to be stored here too.
    Merge(Vec<Delta>),
    /// Where the store stands, or that it has no such document.
    Head(Option<Position>),
    /// What other nodes said may have been missed.
    Resumed,
    /// Tell the other nodes again who is here.
    RepeatPresence,
    /// Another node is gone.
    NodeGone {
        /// Which.
        node: NodeId,
        /// Until when its clients count as present.
        until: Millis,
    },
    /// The time.
    Tick(Millis),
    /// A window that [`Effect::Open`] opened is over.
    Over(Window),
}

/// What the shell does for a room, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send it to one connection, if it is still there.
    Send(SessionId, ServerMessage),
    /// Send it to everyone in [`Room::subscribers`].
    Broadcast(ServerMessage),
    /// Send it to everyone in [`Room::subscribers`] but those over whose connection this client
    /// writes: [`Room::others`].
    Relay(ClientId, ServerMessage),
    /// Send it to everyone in [`Room::watchers`].
    BroadcastPresence(ServerMessage),
    /// Answer with [`Input::Over`] after so many milliseconds.
    Open(Window, u64),
    /// Give these to the store and answer with [`Input::Stored`] or [`Input::NotStored`].
    Append {
        /// Names the edit in the answer.
        ticket: TicketId,
        /// In order.
        deltas: Vec<Delta>,
    },
    /// Read the history after this position, however often it takes, and answer with
    /// [`Input::Fetched`].
    Fetch(Position),
    /// Read the document anew, however often it takes, and answer with [`Input::Reloaded`].
    Reload,
    /// Tell the other nodes that have this document open, if that can be done now.
    Publish(PeerMessage),
}

#[derive(Debug)]
struct Member<H> {
    handle: H,
    follows_document: bool,
    follows_presence: bool,
    /// Whether it said something of its own presence.
    has_shown_presence: bool,
    /// The clients that wrote over this connection.
    writers: BTreeSet<ClientId>,
}

#[derive(Debug)]
struct Ticket {
    /// Whom to acknowledge it to, as what; nobody when another node sent it.
    origin: Option<(SessionId, String)>,
    deltas: usize,
    bytes: usize,
}

/// One document with everybody who has it open. `H` is how the shell reaches a connection.
#[derive(Debug)]
pub struct Room<H> {
    id: DocumentId,
    limits: Limits,
    position: Position,
    document: Document,
    members: BTreeMap<SessionId, Member<H>>,
    /// Those who left, but some of whose edits are still to be acknowledged.
    leaving: BTreeSet<SessionId>,
    /// Those who read too slowly.
    lags: BTreeMap<SessionId, Lag>,
    awareness: Awareness,
    /// Changes of presence that wait for the end of the window; none while there is no window.
    presence_window: Option<BTreeMap<ClientId, WaitingPresence>>,
    /// Whether the text changed during the window; none while there is no window.
    text_window: Option<bool>,
    /// The text as a JSON string that holds the state clients read, until it changes.
    text_string: Option<JsonText>,
    tickets: BTreeMap<TicketId, Ticket>,
    last_ticket: u64,
    deltas_in_flight: usize,
    bytes_in_flight: usize,
    /// Counters given to clients that count for nothing themselves, until they are applied.
    counters: VectorClock,
    /// Numbered deltas that cannot be applied yet because others are missing before them.
    arrived: BTreeMap<Seq, Delta>,
    /// Where the room stood when it asked for the answer to [`Effect::Fetch`] or
    /// [`Effect::Reload`] that is still to come.
    reading: Option<Position>,
    /// Whether more may be stored than the answer that is still to come will show.
    behind: bool,
    /// Whether there are no other nodes to be told of what was stored.
    is_alone: bool,
    /// The document as JSON, for those who join before it changes.
    state: Option<JsonText>,
}

impl<H> Room<H> {
    /// A room for a document in the state that was loaded.
    #[must_use]
    pub fn new(id: DocumentId, loaded: Snapshot, limits: Limits) -> Self {
        Self {
            id,
            limits,
            position: loaded.position,
            document: loaded.document,
            members: BTreeMap::new(),
            leaving: BTreeSet::new(),
            lags: BTreeMap::new(),
            awareness: Awareness::default(),
            presence_window: None,
            text_window: None,
            text_string: None,
            tickets: BTreeMap::new(),
            last_ticket: 0,
            deltas_in_flight: 0,
            bytes_in_flight: 0,
            counters: VectorClock::new(),
            arrived: BTreeMap::new(),
            reading: None,
            behind: false,
            is_alone: false,
            state: None,
        }
    }

    /// Spares the copies of what was stored: there are no other nodes to be told of it.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.is_alone = true;
        self
    }

    /// Forgets what it keeps for those who join one after another.
    pub fn forget_state(&mut self) {
        self.state = None;
    }

    /// Where the room stands in the document's history.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The document there.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Whether the room takes another command now. If not, leave commands in their queue until
    /// the store has answered.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.deltas_in_flight < self.limits.edits_in_flight_max
            && self.bytes_in_flight < EDIT_BYTES_IN_FLIGHT_MAX
    }

    /// Whether nobody is here and nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.members.len() == self.leaving.len()
            && self.tickets.is_empty()
            && self.reading.is_none()
            && !self.has_presence()
            && self.presence_window.is_none()
    }

    /// When [`Input::Tick`] has something to do.
    #[must_use]
    pub fn next_tick(&self) -> Option<Millis> {
        self.awareness.next_expiry()
    }

    /// Whether clients that are connected to this node are present.
    #[must_use]
    pub fn has_presence(&self) -> bool {
        self.awareness.here().next().is_some()
    }

    /// Whether edits were given to the store that it has not answered yet.
    #[must_use]
    pub fn awaits_store(&self) -> bool {
        !self.tickets.is_empty()
    }

    /// The handle of one connection.
    #[must_use]
    pub fn handle_of(&self, session: SessionId) -> Option<&H> {
        self.members.get(&session).map(|member| &member.handle)
    }

    /// Everyone here.
    pub fn handles(&self) -> impl Iterator<Item = &H> {
        self.members.values().map(|member| &member.handle)
    }

    /// Those who follow the document.
    pub fn subscribers(&self) -> impl Iterator<Item = &H> {
        self.members.values().filter(|member| member.follows_document).map(|member| &member.handle)
    }

    /// Those who follow the document, but not those over whose connection `client` writes.
    pub fn others<'r>(&'r self, client: &'r ClientId) -> impl Iterator<Item = &'r H> {
        let others = self.members.values();
        others
            .filter(|member| member.follows_document && !member.writers.contains(client))
            .map(|member| &member.handle)
    }

    /// Those who follow its presence.
    pub fn watchers(&self) -> impl Iterator<Item = &H> {
        self.members.values().filter(|member| member.follows_presence).map(|member| &member.handle)
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input<H>, effects: &mut Vec<Effect>) {
        self.dismiss();
        match input {
            Input::Command { session, handle, command } => {
                self.command(session, handle, command, effects);
            }
            Input::Stored { epoch, edits } => self.stored(epoch, edits, effects),
            Input::NotStored { tickets, code } => self.not_stored(&tickets, code, effects),
            Input::Fetched(deltas) => {
                let asked_at = self.reading.take();
                if asked_at.is_none_or(|asked_at| asked_at.epoch == self.position.epoch) {
                    self.arrived.extend(deltas);
                } else {
                    // The document was empty when this was asked for, and began another life.
                    self.behind = true;
                }
                self.advance(effects);
                self.read_on(effects);
            }
            Input::Reloaded(loaded) => {
                let asked_at = self.reading.take();
                if !self.is_outdated(loaded.position, asked_at) {
                    self.reload(loaded, effects);
                }
                self.read_on(effects);
            }
            Input::Peer { node, message, now } => self.hear(&node, message, now, effects),
            Input::Merge(deltas) => {
                if !deltas.is_empty() {
                    self.append(None, deltas, effects);
                }
            }
            Input::Head(head) => self.compare(head, effects),
            Input::Resumed => {
                self.tell_presence(effects);
                effects.push(Effect::Publish(PeerMessage::PresenceAsked));
            }
            Input::RepeatPresence => self.tell_presence(effects),
            Input::NodeGone { node, until } => {
                let back = self.awareness.abandon_node(&node, until);
                self.show_presence(back, true, effects);
            }
            Input::Tick(now) => {
                let gone = self.awareness.expire(now);
                self.show_presence(gone, true, effects);
            }
            Input::Over(Window::Presence) => self.presence_window_is_over(effects),
            Input::Over(Window::Text) => self.text_window_is_over(effects),
        }
    }

    fn command(
        &mut self,
        session: SessionId,
        handle: H,
        command: Command,
        effects: &mut Vec<Effect>,
    ) {
        match command {
            Command::CatchUp => return self.send_missed(session, effects),
            Command::Leave => return self.leave(session, effects),
            Command::Vanish { until } => {
                let back = self.awareness.abandon(session, until);
                self.show_presence(back, true, effects);
                return self.leave(session, effects);
            }
            _ => {}
        }
        let member = self.members.entry(session).or_insert_with(|| Member {
            handle,
            follows_document: false,
            follows_presence: false,
            has_shown_presence: false,
            writers: BTreeSet::new(),
        });
        self.leaving.remove(&session);
        match command {
            Command::Subscribe { request_id, replay } => {
                member.follows_document = true;
                self.answer_subscribe(session, request_id, replay, effects);
            }
            Command::Edit { message_id, drafts, follow } => {
                member.follows_document |= follow;
                for draft in &drafts {
                    if member.writers.len() < SESSION_WRITERS_MAX {
                        member.writers.insert(draft.client.clone());
                    }
                }
                self.edit(session, message_id, drafts, effects);
            }
            Command::AwarenessSubscribe => {
                member.follows_presence = true;
                effects.push(Effect::Send(session, self.everybody(None)));
            }
            Command::AwarenessUpdate { client, state, clock } => {
                let is_new = !std::mem::replace(&mut member.follows_presence, true);
                let is_first = !std::mem::replace(&mut member.has_shown_presence, true);
                let has_others = self.awareness.entries().any(|(other, _)| *other != client);
                // SDK 0.3.0 asks before its application listens, drops the answer, and never asks again.
                if is_new || is_first && has_others {
                    effects.push(Effect::Send(session, self.everybody(Some(&client))));
                }
                self.presence(session, client, state, clock, effects);
            }
            Command::CatchUp | Command::Leave | Command::Vanish { .. } => {}
        }
    }

    fn edit(
        &mut self,
        session: SessionId,
        message_id: String,
        drafts: Vec<Draft>,
        effects: &mut Vec<Effect>,
    ) {
        let mut known = BTreeSet::new();
        let mut deltas = Vec::with_capacity(drafts.len());
        for draft in drafts {
            // The store takes no id twice in one edit, and the second would change nothing.
            deltas.extend(self.number(draft).filter(|delta| known.insert(delta.id.clone())));
        }
        let checked = self.check_counters(&deltas).and_then(|()| self.check_growth(&deltas));
        if let Err(refused) = checked {
            let error = refused.on(&self.id).answering(Some(&message_id));
            effects.push(Effect::Send(session, ServerMessage::Error(error)));
        } else if deltas.is_empty() {
            effects.push(Effect::Send(session, ServerMessage::Ack { message_id }));
        } else {
            self.append(Some((session, message_id)), deltas, effects);
        }
    }

    /// One client must not use up the numbers of all others.
    fn check_counters(&self, deltas: &[Delta]) -> Result<(), ErrorReply> {
        let too_far = |counter: u64, greatest: u64| {
            ErrorReply::new(ErrorCode::InvalidClock).because(format!(
                "{counter} is too far ahead of {greatest}, the greatest so far: subscribe and count on from there"
            ))
        };
        for delta in deltas {
            let stamp = self.document.stamp();
            if !counter_may_follow(delta.counter(), stamp) {
                return Err(too_far(delta.counter(), stamp));
            }
            let known = self.document.collections().text().clock();
            if let Changes::Text(added) = &delta.changes
                && !counter_may_follow(added.clock(), known)
            {
                return Err(too_far(added.clock(), known));
            }
        }
        Ok(())
    }

    /// What is in a text or has a format never goes away, so there is an end to what is taken.
    fn check_growth(&self, deltas: &[Delta]) -> Result<(), ErrorReply> {
        let (mut blocks, mut format_bytes) = (0, 0);
        for delta in deltas {
            match &delta.changes {
                Changes::Text(added) => blocks += added.blocks(),
                Changes::Format(operation) => format_bytes += operation.as_str().len(),
                Changes::Fields(_) | Changes::Count(_) | Changes::Set(_) => {}
            }
        }
        let held = self.document.collections();
        let reason = if blocks > 0 && held.text().blocks() + blocks > TEXT_BLOCKS_MAX {
            format!("a text holds at most {TEXT_BLOCKS_MAX} blocks")
        } else if format_bytes > 0 && held.format_bytes() + format_bytes > FORMAT_BYTES_MAX {
            format!("a document holds formats of at most {FORMAT_BYTES_MAX} bytes")
        } else {
            return Ok(());
        };
        Err(ErrorReply::new(ErrorCode::LimitExceeded).because(reason))
    }

    fn append(
        &mut self,
        origin: Option<(SessionId, String)>,
        deltas: Vec<Delta>,
        effects: &mut Vec<Effect>,
    ) {
        self.last_ticket += 1;
        let ticket = TicketId(self.last_ticket);
        let bytes = deltas.iter().map(|delta| delta.changes.size()).sum();
        self.deltas_in_flight += deltas.len();
        self.bytes_in_flight += bytes;
        self.tickets.insert(ticket, Ticket { origin, deltas: deltas.len(), bytes });
        effects.push(Effect::Append { ticket, deltas });
    }

    /// The delta of an edit; none if the text it sends is known already.
    fn number(&mut self, draft: Draft) -> Option<Delta> {
        let Draft { mut id, client, counter, timestamp, mut changes } = draft;
        let counter = counter.unwrap_or_else(|| {
            let seen = self.document.clock().get(client.as_str());
            let next = seen.max(self.counters.get(client.as_str())).saturating_add(1);
            self.counters.raise(&client, next);
            next
        });
        if let Changes::Text(state) = &changes {
            let added = state.minus(self.document.collections().text());
            if added.is_empty() {
                return None;
            }
            changes = Changes::Text(added);
            id = DeltaId::derive(&client, counter, timestamp, &changes);
        }
        Some(Delta { id, clock: VectorClock::dot(&client, counter), client, timestamp, changes })
    }

    fn redeem(&mut self, id: TicketId) -> Option<Ticket> {
        let ticket = self.tickets.remove(&id)?;
        self.deltas_in_flight -= ticket.deltas;
        self.bytes_in_flight -= ticket.bytes;
        Some(ticket)
    }

    fn stored(&mut self, epoch: Epoch, edits: Vec<Stored>, effects: &mut Vec<Effect>) {
        let mut repeats = Vec::new();
        let mut repeated_up_to = Seq(0);
        let mut arrived = Vec::new();
        let mut published = Vec::new();
        for edit in edits {
            let Some(ticket) = self.redeem(edit.ticket) else { continue };
            let session = ticket.origin.as_ref().map(|(session, _)| *session);
            if let Some((session, message_id)) = ticket.origin {
                effects.push(Effect::Send(session, ServerMessage::Ack { message_id }));
            }
            for (delta, delivery) in edit.deltas {
                match (delivery, session) {
                    (Delivery::Stored(seq), Some(_)) if !self.is_alone => {
                        published.push((seq, delta.clone()));
                        arrived.push((seq, delta));
                    }
                    (Delivery::Stored(seq), _) => arrived.push((seq, delta)),
                    (Delivery::Repeated(seq), session) => {
                        repeated_up_to = repeated_up_to.max(seq);
                        repeats.extend(session.map(|session| (session, delta)));
                    }
                }
            }
        }
        if !published.is_empty() {
            let message = PeerMessage::Stored { epoch, deltas: published };
            effects.push(Effect::Publish(message));
        }
        self.arrive(epoch, arrived, effects);
        if self.position.epoch == epoch && repeated_up_to > self.position.seq {
            // Stored by a try that seemed to fail, or by another node.
            self.catch_up(effects);
        }
        for (session, delta) in repeats {
            self.answer_repeat(session, &delta, effects);
        }
    }

    /// Takes numbered deltas, whoever stored them.
    fn arrive(&mut self, epoch: Epoch, deltas: Vec<(Seq, Delta)>, effects: &mut Vec<Effect>) {
        self.begin(epoch);
        if self.position.epoch != epoch {
            self.behind = self.reading.is_some();
            return self.read(Effect::Reload, effects);
        }
        self.arrived.extend(deltas);
        self.advance(effects);
        while self.arrived.len() > ARRIVED_MAX {
            self.arrived.pop_last();
            self.behind = true;
        }
    }

    /// A document that nobody had written has no epoch until its first delta. Several may be named
    /// before that one comes, and what was numbered in one is nothing in another.
    fn begin(&mut self, epoch: Epoch) {
        if self.position.seq == Seq(0) && self.position.epoch != epoch {
            self.position.epoch = epoch;
            self.arrived.clear();
        }
    }

    /// The retrying client may have missed what became of its edit, so it gets the value again.
    fn answer_repeat(&mut self, session: SessionId, delta: &Delta, effects: &mut Vec<Effect>) {
        if !self.members.get(&session).is_some_and(|member| member.follows_document) {
            return;
        }
        let mut dirty = Dirty::default();
        dirty.note(delta, false);
        dirty.fields.retain(|name| self.document.field(name.as_str()).is_some());
        let writers = BTreeSet::from([delta.client.clone()]);
        let messages = self.current(&dirty, &writers);
        effects.extend(messages.into_iter().map(|message| Effect::Send(session, message)));
    }

    fn not_stored(&mut self, tickets: &[TicketId], code: ErrorCode, effects: &mut Vec<Effect>) {
        for id in tickets {
            let Some(ticket) = self.redeem(*id) else { continue };
            let Some((session, message_id)) = ticket.origin else { continue };
            let error = ErrorReply::new(code).on(&self.id).answering(Some(message_id.as_str()));
            effects.push(Effect::Send(session, ServerMessage::Error(error)));
        }
        // The store may have taken them all the same.
        if code.is_retryable() {
            self.catch_up(effects);
        }
    }

    /// Applies what is next, sends the new values out, and asks for what is missing.
    fn advance(&mut self, effects: &mut Vec<Effect>) {
        let mut dirty = Dirty::default();
        let mut writers = BTreeSet::new();
        while let Some(entry) = self.arrived.first_entry() {
            match self.position.arrival(self.position.epoch, *entry.key()) {
                Arrival::Next => {
                    let delta = entry.remove();
                    self.position.seq = self.position.seq.next();
                    let is_new = self.document.apply(&delta);
                    dirty.note(&delta, is_new);
                    self.state = None;
                    if writers.len() < FEEDBACK_CLIENTS_MAX {
                        writers.insert(delta.client);
                    }
                }
                Arrival::Stale => drop(entry.remove()),
                Arrival::Gap | Arrival::OtherEpoch => {
                    self.read(Effect::Fetch(self.position), effects);
                    break;
                }
            }
        }
        if self.tickets.is_empty() && self.reading.is_none() {
            self.counters = VectorClock::new();
        }
        self.broadcast(dirty, &writers, effects);
    }

    fn read(&mut self, effect: Effect, effects: &mut Vec<Effect>) {
        if self.reading.is_none() {
            self.reading = Some(self.position);
            effects.push(effect);
        }
    }

    /// Reads what may be stored beyond the position. An answer on its way may be from before.
    fn catch_up(&mut self, effects: &mut Vec<Effect>) {
        self.behind = self.reading.is_some();
        self.read(Effect::Fetch(self.position), effects);
    }

    /// Reads again if the answer that came may have been from before what was then stored.
    fn read_on(&mut self, effects: &mut Vec<Effect>) {
        if std::mem::take(&mut self.behind) {
            self.read(Effect::Fetch(self.position), effects);
        }
    }

    /// Whether the room has gone on since a document was read, so that it would fall back.
    fn is_outdated(&mut self, loaded: Position, asked_at: Option<Position>) -> bool {
        if loaded.epoch == self.position.epoch {
            return loaded.seq < self.position.seq;
        }
        // Which epoch is the newer one only another read can tell.
        let has_moved = asked_at.is_some_and(|asked_at| asked_at != self.position);
        self.behind |= has_moved;
        has_moved
    }

    fn reload(&mut self, loaded: Snapshot, effects: &mut Vec<Effect>) {
        let before = std::mem::replace(&mut self.document, loaded.document);
        self.state = None;
        if self.position.epoch != loaded.position.epoch {
            self.arrived.clear();
        }
        self.position = loaded.position;
        if before != self.document {
            self.broadcast(Dirty::between(&before, &self.document), &BTreeSet::new(), effects);
        }
        self.advance(effects);
    }

    /// Lets those go who left and whose edits were answered, by the input before this one.
    fn dismiss(&mut self) {
        let Self { leaving, members, tickets, .. } = self;
        leaving.retain(|session| {
            let waits = tickets.values().any(|ticket| ticket.is_of(*session));
            if !waits {
                members.remove(session);
            }
            waits
        });
    }

    fn leave(&mut self, session: SessionId, effects: &mut Vec<Effect>) {
        self.lags.remove(&session);
        if self.tickets.values().any(|ticket| ticket.is_of(session)) {
            if let Some(member) = self.members.get_mut(&session) {
                self.leaving.insert(session);
                member.follows_document = false;
                member.follows_presence = false;
                member.has_shown_presence = false;
                member.writers.clear();
            }
        } else {
            self.members.remove(&session);
        }
        let gone = self.awareness.disconnect(session);
        self.show_presence(gone, true, effects);
    }
}

impl Ticket {
    fn is_of(&self, session: SessionId) -> bool {
        self.origin.as_ref().is_some_and(|(origin, _)| *origin == session)
    }
}

#[cfg(test)]
mod tests;
