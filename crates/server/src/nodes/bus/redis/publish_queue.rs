//! What waits to be published.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::super::Channel;

/// Messages that may wait: some tens of milliseconds of what Redis takes. What is older than that
/// is fetched from the store faster than it arrives here.
const WAITING_MESSAGES_MAX: usize = 16_384;

/// Bytes that may wait, so that long messages cannot fill the memory.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Messages sent at a time: beyond some hundreds a longer pipeline is no faster.
const BATCH_MESSAGES_MAX: usize = 512;

/// Bytes sent at a time, unless one message is longer: pings wait behind them.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

pub(super) struct Outgoing {
    pub(super) channel: Channel,
    pub(super) payload: Bytes,
}

/// A bounded queue that refuses instead of waiting, and takes nothing while it is shut.
#[derive(Default)]
pub(super) struct PublishQueue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    open: bool,
    messages: VecDeque<Outgoing>,
    bytes: usize,
}

impl PublishQueue {
    /// Whether there was a place.
    pub(super) fn push(&self, channel: Channel, payload: Bytes) -> bool {
        let mut queue = self.waiting.lock();
        let bytes = queue.bytes + payload.len();
        // One message always fits, however long.
        let is_full = queue.messages.len() >= WAITING_MESSAGES_MAX
            || (bytes > WAITING_BYTES_MAX && !queue.messages.is_empty());
        if !queue.open || is_full {
            return false;
        }
        queue.bytes = bytes;
        queue.messages.push_back(Outgoing { channel, payload });
        drop(queue);
        self.filled.notify_one();
        true
    }

    /// The next messages to be sent together; empty when none wait.
    pub(super) fn take(&self) -> Vec<Outgoing> {
        let mut queue = self.waiting.lock();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(message) = queue.messages.front()
            && batch.len() < BATCH_MESSAGES_MAX
            && (batch.is_empty() || bytes + message.payload.len() <= BATCH_BYTES_MAX)
        {
            bytes += message.payload.len();
            batch.extend(queue.messages.pop_front());
        }
        queue.bytes -= bytes;
        batch
    }

    /// Returns soon after a message was put into an empty queue.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    pub(super) fn open(&self) {
        self.waiting.lock().open = true;
    }

    /// Takes nothing more, and keeps what waits.
    pub(super) fn shut(&self) {
        self.waiting.lock().open = false;
        self.filled.notify_one();
    }

    /// Takes nothing more and throws away what waits; returns how many messages that were.
    pub(super) fn clear(&self) -> usize {
        let mut queue = self.waiting.lock();
        let Waiting { messages, .. } = std::mem::take(&mut *queue);
        messages.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_refuses_what_it_has_no_place_for() {
        let queue = PublishQueue::default();
        assert!(!queue.push(Channel::Nodes, Bytes::new()), "shut");
        queue.open();
        for _ in 0..WAITING_MESSAGES_MAX {
            assert!(queue.push(Channel::Nodes, Bytes::new()));
        }
        assert!(!queue.push(Channel::Nodes, Bytes::new()));
        assert_eq!(queue.take().len(), BATCH_MESSAGES_MAX);
        assert!(queue.push(Channel::Nodes, Bytes::new()));
        assert_eq!(queue.clear(), WAITING_MESSAGES_MAX - BATCH_MESSAGES_MAX + 1);
        assert!(!queue.push(Channel::Nodes, Bytes::new()), "shut");
    }

    #[test]
    fn a_queue_bounds_bytes_but_takes_one_message_of_any_length() {
        let queue = PublishQueue::default();
        queue.open();
        let long = Bytes::from(vec![0; WAITING_BYTES_MAX + 1]);
        assert!(queue.push(Channel::Nodes, long.clone()));
        assert!(!queue.push(Channel::Nodes, Bytes::from_static(b"x")));
        assert_eq!(queue.take().len(), 1);
        for _ in 0..3 {
            assert!(queue.push(Channel::Nodes, long.slice(..BATCH_BYTES_MAX / 2)));
        }
        assert_eq!(queue.take().len(), 2);
        assert_eq!(queue.take().len(), 1);
    }
}
