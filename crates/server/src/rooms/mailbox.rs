//! The queue of commands before a room, bounded in number and in bytes.

use std::sync::Arc;

use synckit_engine::ids::SessionId;
use synckit_engine::room::{Command, Draft};
use tokio::sync::mpsc::{self, error::SendError, error::TrySendError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::input::RoomInput;
use crate::outbox::Outbox;

/// Commands waiting for one room. When full, the readers of its writers' sockets wait.
const COMMANDS_MAX: usize = 1_024;

/// Bytes of the large ones among them: as many as a room gives to the store at once. When full,
/// the same.
const BYTES_MAX: u32 = 16 << 20;

/// Commands up to this many bytes are bounded by their number alone: a full queue of them is a
/// mebibyte, and most take this way.
const SMALL_BYTES: usize = 1_024;

/// What connections send to a room.
#[derive(Debug)]
pub(crate) struct RoomMessage {
    pub(super) session: SessionId,
    pub(super) outbox: Arc<Outbox>,
    pub(super) command: Command,
    /// Its share of the queue's bytes, if it is large.
    place: Option<OwnedSemaphorePermit>,
}

impl RoomMessage {
    pub(crate) fn new(session: SessionId, outbox: Arc<Outbox>, command: Command) -> Self {
        Self { session, outbox, command, place: None }
    }

    /// What an error that answers it names.
    pub(crate) fn message_id(&self) -> Option<&str> {
        match &self.command {
            Command::Edit { message_id, .. } => Some(message_id),
            Command::Subscribe { request_id, .. } => Some(request_id),
            _ => None,
        }
    }

    /// Bytes that it takes in the queue.
    fn size(&self) -> usize {
        match &self.command {
            Command::Edit { drafts, .. } => drafts.iter().map(size_of_draft).sum(),
            Command::AwarenessUpdate { state: Some(state), .. } => state.as_str().len(),
            _ => 0,
        }
    }
}

impl From<RoomMessage> for RoomInput {
    fn from(message: RoomMessage) -> Self {
        Self::Command { session: message.session, handle: message.outbox, command: message.command }
    }
}

fn size_of_draft(draft: &Draft) -> usize {
    size_of::<Draft>() + draft.changes.size()
}

/// How a connection reaches a room. A room lives at least as long as anyone holds one of these.
#[derive(Debug, Clone)]
pub(crate) struct RoomHandle {
    commands: mpsc::Sender<RoomMessage>,
    bytes: Arc<Semaphore>,
}

/// The queue of a new room.
pub(super) fn channel() -> (RoomHandle, mpsc::Receiver<RoomMessage>) {
    let (commands, mailbox) = mpsc::channel(COMMANDS_MAX);
    let bytes = Arc::new(Semaphore::new(BYTES_MAX as usize));
    (RoomHandle { commands, bytes }, mailbox)
}

impl RoomHandle {
    /// Whether nobody holds another handle of the room.
    pub(super) fn is_last(&self) -> bool {
        self.commands.strong_count() == 1
    }

    /// Queues a command, and waits while the queue is full. Cancel-safe: a command that was not
    /// queued is dropped.
    ///
    /// # Errors
    /// The command, when the room is no more.
    pub(crate) async fn send(&self, mut message: RoomMessage) -> Result<(), RoomMessage> {
        if message.size() <= SMALL_BYTES {
            match self.commands.try_send(message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(unsent)) => return Err(unsent),
                Err(TrySendError::Full(unsent)) => message = unsent,
            }
        }
        // Rare, so that idle connections have no place for it.
        Box::pin(self.wait(message)).await
    }

    async fn wait(&self, mut message: RoomMessage) -> Result<(), RoomMessage> {
        let size = message.size();
        // A place in the queue of a room that failed counts for nothing in that of the next.
        message.place = None;
        if size > SMALL_BYTES {
            let bytes = u32::try_from(size).unwrap_or(u32::MAX).min(BYTES_MAX);
            // Never closed; the room's end frees what its queue held.
            message.place = Arc::clone(&self.bytes).acquire_many_owned(bytes).await.ok();
        }
        self.commands.send(message).await.map_err(|SendError(unsent)| unsent)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use synckit_engine::ids::ClientId;
    use synckit_engine::json::JsonText;

    use super::*;

    fn awareness(bytes: usize) -> RoomMessage {
        let state = format!("{:?}", "x".repeat(bytes));
        let command = Command::AwarenessUpdate {
            client: ClientId::new("client").unwrap(),
            state: Some(JsonText::parse(&state).unwrap()),
            clock: 1,
        };
        RoomMessage::new(SessionId(1), Arc::new(Outbox::new(SessionId(1), 1)), command)
    }

    #[tokio::test]
    async fn large_commands_wait_for_room_in_bytes_and_small_ones_do_not() {
        let (handle, mut mailbox) = channel();
        handle.send(awareness(10 << 20)).await.unwrap();
        let mut second = pin!(handle.send(awareness(10 << 20)));
        assert!(second.as_mut().now_or_never().is_none(), "it waits");
        handle.send(awareness(10)).await.unwrap();
        drop(mailbox.recv().await);
        second.await.unwrap();
        assert_eq!(mailbox.len(), 2);
    }

    #[tokio::test]
    async fn one_command_may_be_larger_than_the_bound() {
        let (handle, mailbox) = channel();
        handle.send(awareness(20 << 20)).await.unwrap();
        assert_eq!(mailbox.len(), 1);
    }

    #[tokio::test]
    async fn those_who_wait_for_a_room_that_ends_get_their_command_back() {
        let (handle, mailbox) = channel();
        handle.send(awareness(10 << 20)).await.unwrap();
        let mut second = pin!(handle.send(awareness(10 << 20)));
        assert!(second.as_mut().now_or_never().is_none(), "it waits");
        drop(mailbox);
        assert!(second.await.is_err());
    }
}
