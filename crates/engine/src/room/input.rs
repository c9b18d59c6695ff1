//! What happens to a room: its inputs, the commands of connections among them.

use crate::clock::EditNumber;
use crate::delta::{Changes, Delta, DeltaId};
use crate::ids::{ClientId, Millis, NodeId, SessionId};
use crate::json::JsonText;
use crate::peer::PeerMessage;
use crate::position::{Delivery, Epoch, Position, Seq};
use crate::snapshot::Snapshot;
use crate::time::Moment;
use crate::wire::ErrorCode;

use super::windows::Window;

/// An edit that still needs its number among its client's, if the client gave none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Recognises a repeat.
    pub id: DeltaId,
    /// Who made it.
    pub client: ClientId,
    /// Its number among its client's.
    pub number: Option<EditNumber>,
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
    /// Everybody's awareness, and all changes of it.
    AwarenessSubscribe,
    /// The awareness of a client.
    AwarenessUpdate {
        /// Who.
        client: ClientId,
        /// Opaque; none: gone.
        state: Option<JsonText>,
        /// Lamport clock of the state.
        clock: u64,
    },
    /// The present values of what [`Room::miss`](super::Room::miss) noted.
    CatchUp,
    /// Nothing any more: it unsubscribed.
    Leave,
    /// Nothing any more: its connection is gone, and may be replaced by another.
    Vanish {
        /// Until when its clients count as present.
        until: Moment,
    },
}

/// Names one edit that was given to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketId(pub u64);

/// Deltas that were given to the store together, with what became of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEdit {
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
        edits: Vec<StoredEdit>,
    },
    /// The store has not taken these edits, or does not say whether it has.
    NotStored {
        /// The edits.
        tickets: Vec<TicketId>,
        /// What the clients are told.
        code: ErrorCode,
    },
    /// The answer to [`Effect::Fetch`](super::Effect::Fetch): what comes after the room's position,
    /// without gaps.
    Fetched(Vec<(Seq, Delta)>),
    /// The answer to [`Effect::Reload`](super::Effect::Reload), or the state of a document whose
    /// history was pruned.
    Reloaded(Snapshot),
    /// Another node says something of this document.
    Peer {
        /// Which.
        node: NodeId,
        /// What.
        message: PeerMessage,
        /// The time.
        now: Moment,
    },
    /// Deltas of another node that shares no store with this one, to be stored here too.
    Merge(Vec<Delta>),
    /// Where the store stands, or that it has no such document.
    Head(Option<Position>),
    /// What other nodes said may have been missed.
    Resumed,
    /// Tell the other nodes again who is here.
    RepeatAwareness,
    /// Another node is gone.
    NodeGone {
        /// Which.
        node: NodeId,
        /// Until when its clients count as present.
        until: Moment,
    },
    /// The time.
    Tick(Moment),
    /// A window that [`Effect::Open`](super::Effect::Open) opened is over.
    Over(Window),
}
