//! The way back to a room.

use std::sync::atomic::{AtomicBool, Ordering};

use synckit_engine::room::TicketId;
use synckit_engine::wire::ErrorCode;
use tokio::sync::mpsc;

use super::input::RoomInput;

/// Where the room of one ticket takes the answer. A ticket that is lost, because a lane failed with
/// it, is answered as not stored: its clients send the edit again, and if it was stored after all,
/// the store recognises it.
#[derive(Debug)]
pub(crate) struct Reply {
    ticket: TicketId,
    /// It has room for the answers to all tickets of the room.
    room: mpsc::Sender<RoomInput>,
    is_given: AtomicBool,
}

impl Reply {
    pub(crate) fn new(ticket: TicketId, room: mpsc::Sender<RoomInput>) -> Self {
        Self { ticket, room, is_given: AtomicBool::new(false) }
    }

    pub(super) fn ticket(&self) -> TicketId {
        self.ticket
    }

    /// Whether both go to the same room.
    pub(super) fn same_channel(&self, other: &Self) -> bool {
        self.room.same_channel(&other.room)
    }

    /// Answers this ticket, and those of the same room that are [`Reply::answered`] with it.
    pub(super) fn send(&self, input: RoomInput) {
        self.is_given.store(true, Ordering::Relaxed);
        // The queue has room for every ticket of its room, so this fails only when it is gone.
        let _ = self.room.try_send(input);
    }

    /// The ticket is answered together with another one.
    pub(super) fn answered(&self) {
        self.is_given.store(true, Ordering::Relaxed);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !*self.is_given.get_mut() {
            let (tickets, code) = (vec![self.ticket], ErrorCode::StorageUnavailable);
            let _ = self.room.try_send(RoomInput::NotStored { tickets, code });
        }
    }
}
