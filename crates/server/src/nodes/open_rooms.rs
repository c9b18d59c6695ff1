//! The port to the rooms that are open on this node: what nodes need of them.

use synckit_engine::delta::Delta;
use synckit_engine::document::Document;
use synckit_engine::ids::{DocumentId, NodeId};
use synckit_engine::peer::PeerMessage;
use synckit_engine::position::Position;
use synckit_engine::time::Moment;
use synckit_store::StoreError;

/// What a room hears of other nodes.
#[derive(Debug, Clone)]
pub(crate) enum Heard {
    /// A node says something of the room's document.
    Said { node: NodeId, message: PeerMessage, now: Moment },
    /// Deltas of a node that shares no store with this one: to be stored here too.
    Merge(Vec<Delta>),
    /// Where the store stands, and the room does not.
    Head(Option<Position>),
    /// Messages may have been missed until now.
    Resumed,
    /// It is time to say again who is present.
    RepeatAwareness,
    /// A node is gone; its clients count as present until then.
    NodeGone { node: NodeId, until: Moment },
}

/// The rooms that are open on this node.
#[async_trait::async_trait]
pub(crate) trait OpenRooms: Send + Sync {
    /// Gives a room what was heard, unless it isn't open here or hears too much already. Never
    /// waits.
    fn give(&self, document: &DocumentId, heard: Heard);

    /// Gives every room the same. Never waits.
    fn give_all(&self, heard: &Heard);

    /// The documents whose rooms are open, each with where it stands; nowhere while it is loaded.
    fn standings(&self) -> Vec<(DocumentId, Option<Position>)>;

    /// Tells a room that the store stands at `head`, if it should have come to `expected` by now
    /// and has not. Never waits.
    fn compare(&self, document: &DocumentId, head: Option<Position>, expected: Option<Position>);

    /// A document as it is stored here; empty if it is not.
    async fn stored(&self, document: &DocumentId) -> Result<Document, StoreError>;
}
