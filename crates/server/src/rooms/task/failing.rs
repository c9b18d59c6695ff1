//! The end of a room that can't be loaded or can't go on: nobody is left waiting for it.

use std::sync::Arc;

use synckit_engine::room::Room;
use synckit_engine::wire::CloseCode;
use synckit_store::StoreError;

use super::RoomTask;
use crate::outbox::Outbox;

impl RoomTask {
    /// Answers everyone who waits that the document can't be read, until nobody waits.
    pub(super) async fn refuse_all(&mut self, error: &StoreError) {
        if error.is_unavailable() {
            tracing::debug!(document.id = %self.document, error = %error, "not loaded");
        } else {
            tracing::error!(document.id = %self.document, error = %error, "document can't be loaded");
        }
        self.services.hub.forget(&self.document);
        self.early.refuse_all(&self.document, &mut self.queues.mailbox, error).await;
    }

    /// Closes the connection of everyone here and of everyone who waits, so that clients come back
    /// to a room that is loaded anew.
    pub(super) async fn fail(&mut self, room: &Room<Arc<Outbox>>) {
        tracing::error!(document.id = %self.document, "room failed");
        self.services.hub.forget(&self.document);
        self.queues.mailbox.close();
        let close = |outbox: &Outbox| {
            outbox.close(CloseCode::InternalError, "Document failed, please reconnect");
        };
        room.handles().chain(&self.in_hand).for_each(|outbox| close(outbox));
        while let Some(message) = self.early.next(&mut self.queues.mailbox).await {
            close(&message.outbox);
        }
    }
}
