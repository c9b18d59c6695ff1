//! What a room takes, whoever it comes from.

use std::sync::Arc;

use synckit_engine::peer::PeerMessage;
use synckit_engine::room::Input;

use crate::nodes::Heard;
use crate::outbox::Outbox;

/// What happens to a room; it reaches connections through their outboxes.
pub(crate) type RoomInput = Input<Arc<Outbox>>;

impl From<Heard> for RoomInput {
    fn from(heard: Heard) -> Self {
        match heard {
            // What another node holds is to be stored here too, where no store is shared.
            Heard::Said { message: PeerMessage::DocumentHeld { deltas, .. }, .. }
            | Heard::Merge(deltas) => Self::Merge(deltas),
            Heard::Said { node, message, now } => Self::Peer { node, message, now },
            Heard::Head(head) => Self::Head(head),
            Heard::Resumed => Self::Resumed,
            Heard::RepeatAwareness => Self::RepeatAwareness,
            Heard::NodeGone { node, until } => Self::NodeGone { node, until },
        }
    }
}
