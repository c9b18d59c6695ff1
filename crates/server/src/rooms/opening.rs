//! A room before its document is there: what waits in its mailbox is answered in time.

use std::collections::VecDeque;
use std::time::Duration;

use synckit_engine::ids::DocumentId;
use synckit_engine::room::Command;
use synckit_engine::wire::{ErrorCode, ErrorReply, ServerMessage};
use synckit_store::StoreError;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::gate::Gate;
use super::mailbox::RoomMessage;

/// Between two looks at the age of what waits, while the store is away.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Commands that are taken out of the mailbox to be looked at. What is behind them waits as long.
const TAKEN_MAX: usize = 1_024;

/// What a room has taken out of its mailbox before it was open.
#[derive(Debug, Default)]
pub(super) struct Early(VecDeque<RoomMessage>);

impl Early {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self) -> Option<RoomMessage> {
        self.0.pop_front()
    }

    /// The next command. Cancel-safe.
    pub(super) async fn next(
        &mut self,
        mailbox: &mut mpsc::Receiver<RoomMessage>,
    ) -> Option<RoomMessage> {
        match self.0.pop_front() {
            Some(message) => Some(message),
            None => mailbox.recv().await,
        }
    }

    /// While the store is away, answers the edits that have waited too long. Never ends.
    pub(super) async fn refuse_old(
        &mut self,
        document: &DocumentId,
        mailbox: &mut mpsc::Receiver<RoomMessage>,
        gate: &Gate,
        write_hold: Duration,
    ) {
        loop {
            gate.shut().await;
            while self.0.len() < TAKEN_MAX
                && let Ok(message) = mailbox.try_recv()
            {
                self.0.push_back(message);
            }
            let is_old =
                |message: &RoomMessage| message.is_edit() && message.since.elapsed() >= write_hold;
            let (old, kept) = std::mem::take(&mut self.0).into_iter().partition(is_old);
            let old: VecDeque<RoomMessage> = old;
            self.0 = kept;
            for message in old {
                answer(document, &message, ErrorCode::StorageUnavailable);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Answers everyone who waits that the document can't be read, until nobody waits.
    pub(super) async fn refuse_all(
        &mut self,
        document: &DocumentId,
        mailbox: &mut mpsc::Receiver<RoomMessage>,
        error: &StoreError,
    ) {
        mailbox.close();
        while let Some(message) = self.next(mailbox).await {
            // Whatever is wrong with the document, the edit of it is sound: its client keeps it.
            let is_edit = matches!(message.command, Command::Edit { .. });
            let code = match error {
                StoreError::DocumentDamaged { .. } if !is_edit => ErrorCode::DocumentDamaged,
                _ => ErrorCode::StorageUnavailable,
            };
            answer(document, &message, code);
        }
    }
}

fn answer(document: &DocumentId, message: &RoomMessage, code: ErrorCode) {
    let reply = ErrorReply::new(code).on(document).answering(message.message_id());
    message.outbox.send(&ServerMessage::Error(reply));
}
