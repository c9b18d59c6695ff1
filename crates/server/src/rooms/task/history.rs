//! What is said of a store that went back.

use synckit_engine::position::Position;

use super::RoomTask;

impl RoomTask {
    pub(super) fn report_history(&self, from: Position, to: Position, stored_again: Option<usize>) {
        let (document, from_seq, to_seq) = (&self.document, from.seq.0, to.seq.0);
        match stored_again {
            Some(stored_again) => tracing::warn!(
                document.id = %document, from_seq, to_seq, stored_again,
                "another server of the database took over; edits that it lacked are stored again"
            ),
            None if to.epoch.is_takeover_of(from.epoch) => tracing::error!(
                document.id = %document, from_seq, to_seq,
                "another server of the database took over, and acknowledged edits may be lost: \
                 this node does not hold all of them any more"
            ),
            None => tracing::info!(
                document.id = %document, from_seq, to_seq,
                "the document was deleted, or its store put back"
            ),
        }
    }
}
