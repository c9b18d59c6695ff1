//! What a room gives to a lane.

use synckit_engine::delta::Delta;
use synckit_engine::ids::DocumentId;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::rooms::reply::Reply;

/// What a delta takes besides its content, about.
const DELTA_BYTES: usize = 256;

/// One edit on its way to the store.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) document: DocumentId,
    pub(crate) deltas: Vec<Delta>,
    /// When the server read it.
    pub(crate) since: Instant,
    /// Its share of the bytes that may be under way on this node, until it is answered.
    pub(crate) place: Option<OwnedSemaphorePermit>,
    pub(crate) reply: Reply,
}

impl Ticket {
    /// About how much there is to write.
    pub(super) fn bytes(&self) -> usize {
        self.deltas.iter().map(|delta| DELTA_BYTES + delta.changes.size()).sum()
    }
}
