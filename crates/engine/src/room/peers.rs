//! What other nodes and the store say of the document.

use crate::ids::NodeId;
use crate::peer::PeerMessage;
use crate::position::{Position, Seq};
use crate::time::Moment;

use super::{Effect, Room};

impl<H> Room<H> {
    pub(super) fn hear(
        &mut self,
        node: &NodeId,
        message: PeerMessage,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        match message {
            PeerMessage::Stored { epoch, deltas } => self.arrive(epoch, deltas, effects),
            PeerMessage::Head(head) => self.hear_head(Some(head), effects),
            PeerMessage::Awareness { is_repeated, entries } => {
                self.hear_awareness(node, now, is_repeated, entries, effects);
            }
            PeerMessage::AwarenessAsked => self.tell_awareness(effects),
            PeerMessage::Alive
            | PeerMessage::Leaving
            | PeerMessage::DocumentAsked(_)
            | PeerMessage::DocumentHeld { .. } => {}
        }
    }

    /// Reads what the store has beyond the room's position, or another life of the document.
    pub(super) fn hear_head(&mut self, head: Option<Position>, effects: &mut Vec<Effect>) {
        let head = head.unwrap_or_default();
        if head.seq > Seq(0) {
            self.begin(head.epoch);
        }
        effects.extend(self.reading.head(self.position, head));
    }
}
