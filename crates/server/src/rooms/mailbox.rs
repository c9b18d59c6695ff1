//! The queue of commands before a room, bounded in number and in bytes.

use std::sync::Arc;

use synckit_engine::ids::SessionId;
use synckit_engine::room::{Command, Draft};
use tokio::sync::mpsc::{self, error::SendError, error::TrySendError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

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
    /// When it was read.
    pub(super) since: Instant,
    /// Its share of what may be under way on the node, if it is an edit.
    on_node: Option<OwnedSemaphorePermit>,
    /// Its share of the queue's bytes, if it is large.
    place: Option<OwnedSemaphorePermit>,
}

impl RoomMessage {
    pub(crate) fn new(session: SessionId, outbox: Arc<Outbox>, command: Command) -> Self {
        Self { session, outbox, command, since: Instant::now(), on_node: None, place: None }
    }

    pub(super) fn is_edit(&self) -> bool {
        matches!(self.command, Command::Edit { .. })
    }

    /// What happens to the room, and what has to be known of it until it is answered.
    pub(super) fn into_input(self) -> (Arrival, RoomInput) {
        let Self { session, outbox, command, since, on_node, .. } = self;
        let input = RoomInput::Command { session, handle: outbox, command };
        (Arrival { since, place: on_node }, input)
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

/// How an edit came.
#[derive(Debug)]
pub(super) struct Arrival {
    /// When the server read it.
    pub(super) since: Instant,
    /// Its share of what may be under way on the node, kept until it is answered.
    pub(super) place: Option<OwnedSemaphorePermit>,
}

impl Arrival {
    pub(super) fn now() -> Self {
        Self { since: Instant::now(), place: None }
    }
}

/// Bytes of edits that may be under way on this node, from the sockets to their answers. When they
/// are used up, readers of sockets wait in the order in which they came.
#[derive(Debug, Clone)]
pub(crate) struct EditBudget {
    bytes: Arc<Semaphore>,
    total: usize,
}

impl EditBudget {
    pub(crate) fn new(total: usize) -> Self {
        Self { bytes: Arc::new(Semaphore::new(total)), total }
    }

    /// Gives an edit its share, if that is to be had at once.
    fn try_give(&self, message: &mut RoomMessage, size: usize) -> bool {
        if message.is_edit() && message.on_node.is_none() {
            let share = Arc::clone(&self.bytes).try_acquire_many_owned(self.share(size));
            message.on_node = share.ok();
            return message.on_node.is_some();
        }
        true
    }

    async fn give(&self, message: &mut RoomMessage, size: usize) {
        if message.is_edit() && message.on_node.is_none() {
            // Never closed.
            let share = Arc::clone(&self.bytes).acquire_many_owned(self.share(size));
            message.on_node = share.await.ok();
        }
    }

    /// A larger edit than all of it counts as all of it.
    fn share(&self, size: usize) -> u32 {
        u32::try_from(size.min(self.total)).unwrap_or(u32::MAX)
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
    node: EditBudget,
}

/// The queue of a new room.
pub(super) fn channel(node: EditBudget) -> (RoomHandle, mpsc::Receiver<RoomMessage>) {
    let (commands, mailbox) = mpsc::channel(COMMANDS_MAX);
    let bytes = Arc::new(Semaphore::new(BYTES_MAX as usize));
    (RoomHandle { commands, bytes, node }, mailbox)
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
        let size = message.size();
        if size <= SMALL_BYTES && self.node.try_give(&mut message, size) {
            match self.commands.try_send(message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(unsent)) => return Err(unsent),
                Err(TrySendError::Full(unsent)) => message = unsent,
            }
        }
        // Rare, so that idle connections have no place for it.
        Box::pin(self.wait(message, size)).await
    }

    /// First for a place in the room, so that one that is stuck takes little of the node's.
    async fn wait(&self, mut message: RoomMessage, size: usize) -> Result<(), RoomMessage> {
        // A place in the queue of a room that failed counts for nothing in that of the next.
        message.place = None;
        if size > SMALL_BYTES {
            let bytes = u32::try_from(size).unwrap_or(u32::MAX).min(BYTES_MAX);
            // Never closed; the room's end frees what its queue held.
            message.place = Arc::clone(&self.bytes).acquire_many_owned(bytes).await.ok();
        }
        self.node.give(&mut message, size).await;
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
        let (handle, mut mailbox) = channel(EditBudget::new(64 << 20));
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
        let (handle, mailbox) = channel(EditBudget::new(64 << 20));
        handle.send(awareness(20 << 20)).await.unwrap();
        assert_eq!(mailbox.len(), 1);
    }

    #[tokio::test]
    async fn those_who_wait_for_a_room_that_ends_get_their_command_back() {
        let (handle, mailbox) = channel(EditBudget::new(64 << 20));
        handle.send(awareness(10 << 20)).await.unwrap();
        let mut second = pin!(handle.send(awareness(10 << 20)));
        assert!(second.as_mut().now_or_never().is_none(), "it waits");
        drop(mailbox);
        assert!(second.await.is_err());
    }

    fn edit(bytes: usize) -> RoomMessage {
        let value = JsonText::parse(&format!("{:?}", "x".repeat(bytes))).unwrap();
        let draft = Draft {
            id: synckit_engine::delta::DeltaId::new("delta"),
            client: ClientId::new("client").unwrap(),
            number: None,
            timestamp: 1,
            changes: synckit_engine::delta::Changes::Format(value),
        };
        let command =
            Command::Edit { message_id: "message".into(), drafts: vec![draft], follow: false };
        RoomMessage::new(SessionId(1), Arc::new(Outbox::new(SessionId(1), 1)), command)
    }

    #[tokio::test]
    async fn edits_of_all_rooms_wait_when_too_many_bytes_are_under_way_and_nothing_else_does() {
        let budget = EditBudget::new(1_000_000);
        let (one, mut of_one) = channel(budget.clone());
        let (other, mut of_other) = channel(budget);
        one.send(edit(700_000)).await.unwrap();
        let mut second = pin!(other.send(edit(700_000)));
        assert!(second.as_mut().now_or_never().is_none(), "it waits");
        let mut third = pin!(other.send(edit(10)));
        assert!(third.as_mut().now_or_never().is_none(), "small ones wait behind it");
        other.send(awareness(10)).await.unwrap();

        let (arrival, _) = of_one.recv().await.unwrap().into_input();
        assert!(second.as_mut().now_or_never().is_none(), "taken, and not answered yet");
        drop(arrival);
        second.await.unwrap();
        third.await.unwrap();
        assert_eq!(of_other.len(), 3);

        drop(of_other.recv().await);
        of_other.close();
        while of_other.try_recv().is_ok() {}
        one.send(edit(2_000_000)).await.expect("one edit may be larger than all of it");
    }
}
