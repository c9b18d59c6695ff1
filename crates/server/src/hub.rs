//! The rooms that are open on this node, by document.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;
use synckit_engine::ids::DocumentId;
use synckit_engine::limits::Limits;
use synckit_engine::position::{Position, Seq};
use synckit_engine::room::Input;
use synckit_store::StorageProvider;
use tokio::sync::mpsc;

use crate::committer::Committer;
use crate::compactor::Compactor;
use crate::mailbox::{self, RoomHandle, RoomMessage};
use crate::peers::Peers;
use crate::room_task::{self, RoomInput, RoomTask};
use crate::shutdown::Shutdown;

/// Enough that two cores rarely meet at one lock.
const SHARDS: usize = 32;

/// What other nodes say waiting for one room. When full it is lost, and made good later.
const PEER_MAILBOX: usize = 256;

/// An open room.
#[derive(Debug)]
struct Open {
    handle: RoomHandle,
    /// What other nodes and the store say.
    peers: mpsc::Sender<RoomInput>,
    standing: Arc<Standing>,
}

/// Where a room stands, for others to look at; nowhere while it loads.
#[derive(Debug, Default)]
pub(crate) struct Standing(Mutex<Option<Position>>);

impl Standing {
    pub(crate) fn set(&self, position: Position) {
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

/// The open rooms, and what a new one needs.
#[derive(Debug)]
pub(crate) struct Hub {
    shards: Box<[Mutex<HashMap<DocumentId, Open>>]>,
    hasher: RandomState,
    pub(crate) provider: Arc<dyn StorageProvider>,
    pub(crate) committer: Committer,
    pub(crate) compactor: Compactor,
    pub(crate) peers: Arc<Peers>,
    pub(crate) limits: Limits,
    pub(crate) shutdown: Shutdown,
}

impl Hub {
    pub(crate) fn new(
        provider: Arc<dyn StorageProvider>,
        committer: Committer,
        compactor: Compactor,
        peers: Arc<Peers>,
        limits: Limits,
        shutdown: Shutdown,
    ) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self {
            shards,
            hasher: RandomState::new(),
            provider,
            committer,
            compactor,
            peers,
            limits,
            shutdown,
        }
    }

    /// The room of a document, opened if it isn't yet.
    pub(crate) fn room(self: &Arc<Self>, document: &DocumentId) -> RoomHandle {
        let mut rooms = self.shard(document).lock();
        match rooms.entry(document.clone()) {
            Entry::Occupied(open) => open.get().handle.clone(),
            Entry::Vacant(vacant) => {
                let (handle, mailbox) = mailbox::channel();
                let (peers, heard) = mpsc::channel(PEER_MAILBOX);
                let standing = Arc::new(Standing::default());
                let task = RoomTask::new(
                    Arc::clone(self),
                    document.clone(),
                    mailbox,
                    heard,
                    Arc::clone(&standing),
                );
                vacant.insert(Open { handle: handle.clone(), peers, standing });
                self.shutdown.rooms.spawn(room_task::run(task));
                handle
            }
        }
    }

    /// Forgets a room that nobody holds a handle of and nobody has written to; whether it was
    /// forgotten. Handles are only given out under the same lock, so nobody can be about to use it.
    pub(crate) fn release(
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
            self.peers.bus().unsubscribe(document);
        }
        unused
    }

    /// Forgets a room that failed, whoever holds handles of it: their sends will fail.
    pub(crate) fn forget(&self, document: &DocumentId) {
        if self.shard(document).lock().remove(document).is_some() {
            self.peers.bus().unsubscribe(document);
        }
    }

    /// Gives a room what another node says, unless it isn't open here or hears too much already.
    pub(crate) fn give(&self, document: &DocumentId, input: RoomInput) {
        if let Some(open) = self.shard(document).lock().get(document)
            && open.peers.try_send(input).is_err()
        {
            tracing::debug!(document.id = %document, "a message of another node was not taken");
        }
    }

    /// Gives every room the same.
    pub(crate) fn give_all(&self, input: impl Fn() -> RoomInput) {
        for shard in &self.shards {
            for open in shard.lock().values() {
                // One that has no place for it hears enough to be told again.
                let _ = open.peers.try_send(input());
            }
        }
    }

    /// Tells a room where the store stands if it should have come to `expected` by now.
    pub(crate) fn compare(
        &self,
        document: &DocumentId,
        head: Option<Position>,
        expected: Option<Position>,
    ) {
        let rooms = self.shard(document).lock();
        let Some(open) = rooms.get(document) else { return };
        let was_deleted = head.is_none() && open.standing.is_written();
        if was_deleted || open.standing.is_behind(expected) {
            let _ = open.peers.try_send(Input::Head(head));
        }
    }

    /// The documents whose rooms are open.
    pub(crate) fn open_documents(&self) -> Vec<DocumentId> {
        let documents =
            self.shards.iter().flat_map(|shard| shard.lock().keys().cloned().collect::<Vec<_>>());
        documents.collect()
    }

    /// How many rooms are open.
    pub(crate) fn rooms_open(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn shard(&self, document: &DocumentId) -> &Mutex<HashMap<DocumentId, Open>> {
        let hash = self.hasher.hash_one(document);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }
}
