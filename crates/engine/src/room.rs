//! One document with everybody who has it open.
//!
//! Synchronous and without IO. Its state is always a prefix of the stored history: an edit is
//! given to the store first, and applied, acknowledged and sent out when the store has numbered
//! it. Deltas that others stored in between show as a gap in the numbers and are fetched.
//!
//! - `input`: what happens to a room; `effect`: what it wants done
//! - `edits`: to the store and back; `history`: what is applied; `reading`: what is read next
//! - `dirty`: what readers don't know yet; `to_clients`: the messages that tell them; `windows`:
//!   those that wait a moment; `lag`: those that wait for a slow reader
//! - `awareness`: who is here; `peers`: what other nodes say
//!
//! It knows neither sockets nor the store nor the bus, and decides nothing by time of its own.

mod awareness;
mod dirty;
mod edits;
mod effect;
mod history;
mod input;
mod lag;
mod peers;
mod reading;
mod recent;
mod to_clients;
mod windows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::awareness::Awareness;
use crate::clock::VectorClock;
use crate::delta::{Delta, DeltaId};
use crate::document::Document;
use crate::ids::{ClientId, DocumentId, SessionId};
use crate::json::JsonText;
use crate::limits::{Limits, SESSION_WRITERS_MAX};
use crate::peer::PeerMessage;
use crate::position::{Position, Seq};
use crate::snapshot::Snapshot;
use crate::time::Moment;
pub use effect::Effect;
pub use input::{Command, Draft, Input, StoredEdit, TicketId};
use lag::Lag;
use reading::Reading;
pub use recent::RecentBudget;
use recent::{RECENT_FOR_MS, Recent};
use windows::WaitingAwareness;
pub use windows::Window;

/// Bytes of edits of one document on their way to the store at once.
const EDIT_BYTES_IN_FLIGHT_MAX: usize = 16 << 20;

/// A connection that is in the room: it follows the document or its awareness, or wrote here.
#[derive(Debug)]
struct Follower<H> {
    handle: H,
    follows_document: bool,
    follows_awareness: bool,
    /// Whether it said something of its own awareness.
    has_shown_awareness: bool,
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
    followers: BTreeMap<SessionId, Follower<H>>,
    /// Those who left, but some of whose edits are still to be acknowledged.
    leaving: BTreeSet<SessionId>,
    /// Those who read too slowly.
    lags: BTreeMap<SessionId, Lag>,
    awareness: Awareness,
    /// Changes of awareness that wait for the end of the window; none while there is no window.
    awareness_window: Option<BTreeMap<ClientId, WaitingAwareness>>,
    /// Whether the text changed during the window; none while there is no window.
    text_window: Option<bool>,
    /// The text as a JSON string that holds the state clients read, until it changes.
    text_string: Option<JsonText>,
    tickets: BTreeMap<TicketId, Ticket>,
    last_ticket: u64,
    deltas_in_flight: usize,
    bytes_in_flight: usize,
    /// Numbers given to the edits of clients that don't count themselves, until they are applied.
    given_numbers: VectorClock,
    /// Numbered deltas that cannot be applied yet because others are missing before them.
    arrived: BTreeMap<Seq, Delta>,
    /// The answer to [`Effect::Fetch`] or [`Effect::Reload`] that is still to come.
    reading: Reading,
    /// What is stored again if the store goes back.
    recent: Recent,
    /// What was stored again and not applied yet, of the kinds that clients add up: they have it.
    shown_before: BTreeSet<DeltaId>,
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
            followers: BTreeMap::new(),
            leaving: BTreeSet::new(),
            lags: BTreeMap::new(),
            awareness: Awareness::default(),
            awareness_window: None,
            text_window: None,
            text_string: None,
            tickets: BTreeMap::new(),
            last_ticket: 0,
            deltas_in_flight: 0,
            bytes_in_flight: 0,
            given_numbers: VectorClock::new(),
            arrived: BTreeMap::new(),
            reading: Reading::Idle,
            recent: Recent::new(None),
            shown_before: BTreeSet::new(),
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

    /// Keeps the newest deltas within a budget, and has them stored again when another server of
    /// the database takes over without them.
    #[must_use]
    pub fn remembering(mut self, budget: Arc<RecentBudget>) -> Self {
        self.recent = Recent::new(Some(budget));
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

    /// From which number on it would have its history stored again, should the store go back.
    #[must_use]
    pub fn remembers_from(&self) -> Seq {
        self.recent.first(self.position.seq)
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
        self.followers.len() == self.leaving.len()
            && self.tickets.is_empty()
            && self.reading.is_idle()
            && self.recent.is_empty()
            && !self.has_awareness()
            && self.awareness_window.is_none()
    }

    /// When [`Input::Tick`] has something to do.
    #[must_use]
    pub fn next_tick(&self) -> Option<Moment> {
        self.awareness.next_expiry()
    }

    /// Whether clients that are connected to this node are present.
    #[must_use]
    pub fn has_awareness(&self) -> bool {
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
        self.followers.get(&session).map(|follower| &follower.handle)
    }

    /// Everyone here.
    pub fn handles(&self) -> impl Iterator<Item = &H> {
        self.followers.values().map(|follower| &follower.handle)
    }

    /// Those who follow the document.
    pub fn subscribers(&self) -> impl Iterator<Item = &H> {
        self.followers
            .values()
            .filter(|follower| follower.follows_document)
            .map(|follower| &follower.handle)
    }

    /// Those who follow the document, but not those over whose connection `client` writes.
    pub fn others<'r>(&'r self, client: &'r ClientId) -> impl Iterator<Item = &'r H> {
        let others = self.followers.values();
        others
            .filter(|follower| follower.follows_document && !follower.writers.contains(client))
            .map(|follower| &follower.handle)
    }

    /// Those who follow its awareness.
    pub fn watchers(&self) -> impl Iterator<Item = &H> {
        self.followers
            .values()
            .filter(|follower| follower.follows_awareness)
            .map(|follower| &follower.handle)
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input<H>, effects: &mut Vec<Effect>) {
        self.dismiss();
        match input {
            Input::Command { session, handle, command } => {
                self.command(session, handle, command, effects);
            }
            Input::Stored { epoch, edits } => self.edits_stored(epoch, edits, effects),
            Input::NotStored { tickets, code } => self.edits_not_stored(&tickets, code, effects),
            Input::Fetched(deltas) => self.fetched(deltas, effects),
            Input::Reloaded(loaded) => self.reloaded(loaded, effects),
            Input::Peer { node, message, now } => self.hear(&node, message, now, effects),
            Input::Merge(deltas) => {
                if !deltas.is_empty() {
                    self.append(None, deltas, effects);
                }
            }
            Input::Head(head) => self.hear_head(head, effects),
            Input::Resumed => {
                self.tell_awareness(effects);
                effects.push(Effect::Publish(PeerMessage::AwarenessAsked));
            }
            Input::RepeatAwareness => self.tell_awareness(effects),
            Input::NodeGone { node, until } => {
                let back = self.awareness.abandon_node(&node, until);
                self.show_awareness(back, true, effects);
            }
            Input::Tick(now) => {
                let gone = self.awareness.expire(now);
                self.show_awareness(gone, true, effects);
            }
            Input::Over(Window::Awareness) => self.awareness_window_is_over(effects),
            Input::Over(Window::Text) => self.text_window_is_over(effects),
            Input::Over(Window::Recent) => {
                if self.recent.age() {
                    effects.push(Effect::Open(Window::Recent, RECENT_FOR_MS));
                }
            }
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
                self.show_awareness(back, true, effects);
                return self.leave(session, effects);
            }
            _ => {}
        }
        let follower = self.followers.entry(session).or_insert_with(|| Follower {
            handle,
            follows_document: false,
            follows_awareness: false,
            has_shown_awareness: false,
            writers: BTreeSet::new(),
        });
        self.leaving.remove(&session);
        match command {
            Command::Subscribe { request_id, replay } => {
                follower.follows_document = true;
                self.answer_subscribe(session, request_id, replay, effects);
            }
            Command::Edit { message_id, drafts, follow } => {
                follower.follows_document |= follow;
                for draft in &drafts {
                    if follower.writers.len() < SESSION_WRITERS_MAX {
                        follower.writers.insert(draft.client.clone());
                    }
                }
                self.edit(session, message_id, drafts, effects);
            }
            Command::AwarenessSubscribe => {
                follower.follows_awareness = true;
                effects.push(Effect::Send(session, self.everybody(None)));
            }
            Command::AwarenessUpdate { client, state, clock } => {
                let is_new = !std::mem::replace(&mut follower.follows_awareness, true);
                let is_first = !std::mem::replace(&mut follower.has_shown_awareness, true);
                let has_others = self.awareness.entries().any(|(other, _)| *other != client);
                // SDK 0.3.0 asks before its application listens, drops the answer, and never asks again.
                if is_new || is_first && has_others {
                    effects.push(Effect::Send(session, self.everybody(Some(&client))));
                }
                self.update_awareness(session, client, state, clock, effects);
            }
            Command::CatchUp | Command::Leave | Command::Vanish { .. } => {}
        }
    }

    /// Lets those go who left and whose edits were answered, by the input before this one.
    fn dismiss(&mut self) {
        let Self { leaving, followers, tickets, .. } = self;
        leaving.retain(|session| {
            let waits = tickets.values().any(|ticket| ticket.is_of(*session));
            if !waits {
                followers.remove(session);
            }
            waits
        });
    }

    fn leave(&mut self, session: SessionId, effects: &mut Vec<Effect>) {
        self.lags.remove(&session);
        if self.tickets.values().any(|ticket| ticket.is_of(session)) {
            if let Some(follower) = self.followers.get_mut(&session) {
                self.leaving.insert(session);
                follower.follows_document = false;
                follower.follows_awareness = false;
                follower.has_shown_awareness = false;
                follower.writers.clear();
            }
        } else {
            self.followers.remove(&session);
        }
        let gone = self.awareness.disconnect(session);
        self.show_awareness(gone, true, effects);
    }
}

impl Ticket {
    fn is_of(&self, session: SessionId) -> bool {
        self.origin.as_ref().is_some_and(|(origin, _)| *origin == session)
    }
}

#[cfg(test)]
mod tests;
