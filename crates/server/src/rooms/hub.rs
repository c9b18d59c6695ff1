//! The rooms that are open on this node, by document. Knows their queues and nothing else of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;
use synckit_engine::ids::DocumentId;
use synckit_engine::position::{Position, Seq};
use tokio::sync::mpsc;

use super::mailbox::{self, EditBudget, RoomHandle, RoomMessage};
use crate::nodes::Heard;
use crate::nodes::bus::Bus;

/// Enough that two cores rarely meet at one lock.
const SHARDS: usize = 32;

/// What other nodes say waiting for one room. When full it is lost, and made good later.
const HEARD_WAITING_MAX: usize = 256;

/// An open room.
#[derive(Debug)]
struct Open {
    handle: RoomHandle,
    /// What other nodes and the store say.
    heard: mpsc::Sender<Heard>,
    standing: Arc<Standing>,
}

/// The room's side of what the hub holds of it.
#[derive(Debug)]
pub(super) struct RoomQueues {
    pub(super) mailbox: mpsc::Receiver<RoomMessage>,
    /// What other nodes and the store say.
    pub(super) heard: mpsc::Receiver<Heard>,
    pub(super) standing: Arc<Standing>,
}

/// Where a room stands, for others to look at; nowhere while it loads.
#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<Option<Position>>);

impl Standing {
    pub(super) fn set(&self, position: Position) {
        *self.0.lock() = Some(position);
    }

    /// Whether a document that stood at `head` a while ago shows that the room missed something.
    fn is_behind(&self, head: Option<Position>) -> bool {
        let Some(here) = *self.0.lock() else { return false };
        match head {
            Some(head) if here.seq == Seq(0) || here.epoch == head.epoch => head.seq > here.seq,
            Some(_) => true,
            None => false,
        }
    }

    fn is_written(&self) -> bool {
        self.0.lock().is_some_and(|position| position.seq > Seq(0))
    }
}

/// The open rooms.
#[derive(Debug)]
pub(crate) struct Hub {
    shards: Box<[Mutex<HashMap<DocumentId, Open>>]>,
    hasher: RandomState,
    bus: Arc<dyn Bus>,
    budget: EditBudget,
}

impl Hub {
    pub(crate) fn new(bus: Arc<dyn Bus>, budget: EditBudget) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new(), bus, budget }
    }

    /// The room of a document. If it isn't open yet, `open` starts it with its queues.
    pub(super) fn room(&self, document: &DocumentId, open: impl FnOnce(RoomQueues)) -> RoomHandle {
        let mut rooms = self.shard(document).lock();
        match rooms.entry(document.clone()) {
            Entry::Occupied(open) => open.get().handle.clone(),
            Entry::Vacant(vacant) => {
                let (handle, mailbox) = mailbox::channel(self.budget.clone());
                let (sender, heard) = mpsc::channel(HEARD_WAITING_MAX);
                let standing = Arc::new(Standing::default());
                open(RoomQueues { mailbox, heard, standing: Arc::clone(&standing) });
                vacant.insert(Open { handle: handle.clone(), heard: sender, standing });
                handle
            }
        }
    }

    /// Forgets a room that nobody holds a handle of and nobody has written to; whether it was
    /// forgotten. Handles are only given out under the same lock, so nobody can be about to use it.
    pub(super) fn release(
        &self,
        document: &DocumentId,
        mailbox: &mpsc::Receiver<RoomMessage>,
    ) -> bool {
        let mut rooms = self.shard(document).lock();
        let unused =
            rooms.get(document).is_some_and(|open| open.handle.is_last() && mailbox.is_empty());
        if unused {
            rooms.remove(document);
            // Under the lock, so that a room that is opened next subscribes after this.
            self.bus.unsubscribe(document);
        }
        unused
    }

    /// Forgets a room that failed, whoever holds handles of it: their sends will fail.
    pub(super) fn forget(&self, document: &DocumentId) {
        if self.shard(document).lock().remove(document).is_some() {
            self.bus.unsubscribe(document);
        }
    }

    /// Gives a room what another node says, unless it isn't open here or hears too much already.
    pub(super) fn give(&self, document: &DocumentId, heard: Heard) {
        if let Some(open) = self.shard(document).lock().get(document)
            && open.heard.try_send(heard).is_err()
        {
            tracing::debug!(document.id = %document, "a message of another node was not taken");
        }
    }

    /// Gives every room the same.
    pub(super) fn give_all(&self, heard: &Heard) {
        for shard in &self.shards {
            for open in shard.lock().values() {
                // One that has no place for it hears enough to be told again.
                let _ = open.heard.try_send(heard.clone());
            }
        }
    }

    /// Tells a room where the store stands if it should have come to `expected` by now.
    pub(super) fn compare(
        &self,
        document: &DocumentId,
        head: Option<Position>,
        expected: Option<Position>,
    ) {
        let rooms = self.shard(document).lock();
        let Some(open) = rooms.get(document) else { return };
        let was_deleted = head.is_none() && open.standing.is_written();
        if was_deleted || open.standing.is_behind(expected) {
            let _ = open.heard.try_send(Heard::Head(head));
        }
    }

    /// The documents whose rooms are open, each with where it stands; nowhere while it is loaded.
    pub(super) fn standings(&self) -> Vec<(DocumentId, Option<Position>)> {
        let of_shard = |shard: &Mutex<HashMap<DocumentId, Open>>| {
            let rooms = shard.lock();
            let standing = |(document, open): (&DocumentId, &Open)| {
                (document.clone(), *open.standing.0.lock())
            };
            rooms.iter().map(standing).collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(of_shard).collect()
    }

    /// How many rooms are open.
    pub(super) fn rooms_open(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn shard(&self, document: &DocumentId) -> &Mutex<HashMap<DocumentId, Open>> {
        let hash = self.hasher.hash_one(document);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }
}
