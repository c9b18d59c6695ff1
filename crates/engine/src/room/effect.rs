//! What a room wants done: the effects of an input.

use crate::delta::Delta;
use crate::ids::{ClientId, SessionId};
use crate::peer::PeerMessage;
use crate::position::Position;
use crate::wire::ServerMessage;

use super::input::TicketId;
use super::windows::Window;

/// What the shell does for a room, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send it to one connection, if it is still there.
    Send(SessionId, ServerMessage),
    /// Send it to everyone in [`Room::subscribers`](super::Room::subscribers).
    Broadcast(ServerMessage),
    /// Send it to everyone who follows the document but those over whose connection this client
    /// writes: [`Room::others`](super::Room::others).
    Relay(ClientId, ServerMessage),
    /// Send it to everyone in [`Room::watchers`](super::Room::watchers).
    BroadcastAwareness(ServerMessage),
    /// Answer with [`Input::Over`](super::Input::Over) after so many milliseconds.
    Open(Window, u64),
    /// Give these to the store and answer with [`Input::Stored`](super::Input::Stored) or
    /// [`Input::NotStored`](super::Input::NotStored).
    Append {
        /// Names the edit in the answer.
        ticket: TicketId,
        /// In order.
        deltas: Vec<Delta>,
    },
    /// Read the history after this position, however often it takes, and answer with
    /// [`Input::Fetched`](super::Input::Fetched).
    Fetch(Position),
    /// Read the document anew, however often it takes, and answer with
    /// [`Input::Reloaded`](super::Input::Reloaded).
    Reload,
    /// Tell the other nodes that have this document open, if that can be done now.
    Publish(PeerMessage),
    /// Nothing to do but to tell the operator: the store went back, or the document began another
    /// life.
    HistoryChanged {
        /// Where the room stood.
        from: Position,
        /// Where the store stands.
        to: Position,
        /// How many deltas are stored again, after a takeover; none when what was lost is not held
        /// whole, or must not come back.
        stored_again: Option<usize>,
    },
}
