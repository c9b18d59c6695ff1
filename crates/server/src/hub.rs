//! The rooms that are open on this node, by document.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;
use synckit_engine::ids::DocumentId;
use synckit_engine::limits::Limits;
use synckit_store::StorageProvider;
use tokio::sync::mpsc;

use crate::committer::Committer;
use crate::compactor::Compactor;
use crate::room_task::{self, RoomMessage, RoomTask};
use crate::shutdown::Shutdown;

/// Enough that two cores rarely meet at one lock.
const SHARDS: usize = 32;

/// Commands waiting for one room. When full, the readers of its writers' sockets wait.
const MAILBOX: usize = 1_024;

/// How a connection reaches a room. A room lives at least as long as anyone holds one of these.
pub(crate) type RoomHandle = mpsc::Sender<RoomMessage>;

/// The open rooms, and what a new one needs.
#[derive(Debug)]
pub(crate) struct Hub {
    shards: Box<[Mutex<HashMap<DocumentId, RoomHandle>>]>,
    hasher: RandomState,
    pub(crate) provider: Arc<dyn StorageProvider>,
    pub(crate) committer: Committer,
    pub(crate) compactor: Compactor,
    pub(crate) limits: Limits,
    pub(crate) shutdown: Shutdown,
}

impl Hub {
    pub(crate) fn new(
        provider: Arc<dyn StorageProvider>,
        committer: Committer,
        compactor: Compactor,
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
            limits,
            shutdown,
        }
    }

    /// The room of a document, opened if it isn't yet.
    pub(crate) fn room(self: &Arc<Self>, document: &DocumentId) -> RoomHandle {
        let mut rooms = self.shard(document).lock();
        match rooms.entry(document.clone()) {
            Entry::Occupied(open) => open.get().clone(),
            Entry::Vacant(vacant) => {
                let (handle, mailbox) = mpsc::channel(MAILBOX);
                vacant.insert(handle.clone());
                let task = RoomTask::new(Arc::clone(self), document.clone(), mailbox);
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
        let unused = rooms
            .get(document)
            .is_some_and(|handle| handle.strong_count() == 1 && mailbox.is_empty());
        if unused {
            rooms.remove(document);
        }
        unused
    }

    /// Forgets a room that failed, whoever holds handles of it: their sends will fail.
    pub(crate) fn forget(&self, document: &DocumentId) {
        self.shard(document).lock().remove(document);
    }

    /// How many rooms are open.
    pub(crate) fn rooms_open(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn shard(&self, document: &DocumentId) -> &Mutex<HashMap<DocumentId, RoomHandle>> {
        let hash = self.hasher.hash_one(document);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }
}
