//! Connections and rooms, with everything between them that the server's tasks do.

use std::collections::{BTreeMap, VecDeque};

use synckit_engine::delta::Delta;
use synckit_engine::ids::{DocumentId, Millis, SessionId};
use synckit_engine::limits::Limits;
use synckit_engine::peer::PeerMessage;
use synckit_engine::position::{Epoch, Position};
use synckit_engine::room::{Command, Input as RoomInput, Room, StoredEdit, TicketId, Window};
use synckit_engine::session::Session;
use synckit_engine::snapshot::Snapshot;
use synckit_engine::time::Now;
use synckit_engine::wire::{ErrorCode, FrameKind};

use super::store::Store;

/// How long a client that vanished counts as present.
pub(super) const GRACE_MS: Millis = 3_000;

/// Connections at once: two that write against each other, and one that comes and goes.
pub(super) const CONNECTIONS: u8 = 3;

/// One connection, and what it was told.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: SessionId,
    pub(super) session: Session,
    pub(super) is_open: bool,
    pub(super) is_closed: bool,
    /// Times the shell was asked who this is and has not said it yet.
    pub(super) asked: usize,
    pub(super) held: Held,
    /// Edits that a room has to answer, by message id.
    pub(super) owed: BTreeMap<String, usize>,
    /// What the client shows of each document whose state it was told: field → JSON.
    pub(super) shown: BTreeMap<DocumentId, BTreeMap<String, String>>,
    pub(super) last_frame: Option<(FrameKind, Vec<u8>)>,
}

/// What the store will say.
#[derive(Debug)]
pub(super) enum Answer {
    Stored(Epoch, StoredEdit),
    NotStored(TicketId, ErrorCode, usize),
}

impl Answer {
    pub(super) fn deltas(&self) -> usize {
        match self {
            Self::Stored(_, stored) => stored.deltas.len(),
            Self::NotStored(_, _, deltas) => *deltas,
        }
    }
}

/// A read that a room waits for.
#[derive(Debug)]
pub(super) enum Read {
    After(Position),
    Document,
    /// The store was looked at; its answer is on the way.
    Done(RoomInput<SessionId>),
}

/// One document: its room, its store, and what is between them.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) id: DocumentId,
    pub(super) room: Room<SessionId>,
    pub(super) store: Store,
    pub(super) mailbox: VecDeque<(SessionId, Command)>,
    pub(super) appends: VecDeque<(TicketId, Vec<Delta>)>,
    pub(super) answers: VecDeque<Answer>,
    pub(super) read: Option<Read>,
    pub(super) windows: Vec<Window>,
    /// What other nodes said and the bus still has.
    pub(super) heard: VecDeque<PeerMessage>,
}

#[derive(Debug)]
pub(super) struct World {
    /// What both clocks show.
    pub(super) now: Now,
    pub(super) limits: Limits,
    pub(super) connections: Vec<Connection>,
    pub(super) places: Vec<Place>,
    pub(super) last_session: u64,
    pub(super) last_serial: u64,
}

impl Place {
    pub(super) fn new(name: &str, limits: &Limits, is_alone: bool) -> Self {
        let id = DocumentId::new(name).unwrap_or_else(|rule| panic!("{rule}"));
        let room = Room::new(id.clone(), Snapshot::default(), limits.clone());
        Self {
            id,
            room: if is_alone { room.alone() } else { room },
            store: Store::default(),
            mailbox: VecDeque::new(),
            appends: VecDeque::new(),
            answers: VecDeque::new(),
            read: None,
            windows: Vec::new(),
            heard: VecDeque::new(),
        }
    }

    /// The store does what a room waits to read.
    pub(super) fn look(&mut self) {
        self.read = self.read.take().map(|read| match read {
            Read::After(position) => Read::Done(self.store.missing(position)),
            Read::Document => Read::Done(RoomInput::Reloaded(self.store.load())),
            Read::Done(answer) => Read::Done(answer),
        });
    }
}

/// What a session may hold until it knows who speaks.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    pub(super) edits: usize,
}

/// What becomes of an edit that is given to the store.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    Stored,
    /// The store will never take it.
    Refused,
    /// It did not arrive.
    Lost,
    /// It is stored, but the answer did not arrive.
    Unanswered,
}
