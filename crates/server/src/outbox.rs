//! What waits to be sent to one client: whole frames, bounded in bytes, never waiting.
//!
//! Owns the queue of a client, how messages become bytes that many clients share (`encoding`), and
//! the frames that go out (`frames`). Must not know sockets, rooms or what a message means.
//!
//! A client that reads too slowly lags: what a later message replaces is not queued for it, and it
//! asks its rooms for the present values when it has caught up. When the outbox is full all the
//! same, it is closed with a code that says to come back, and then gets the whole state.

pub(crate) mod encoding;
mod frames;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use synckit_engine::ids::SessionId;
use synckit_engine::wire::{CloseCode, Framing, ServerMessage};
use tokio::sync::Notify;

use encoding::encode_frame;
pub(crate) use frames::ping_frame;
use frames::{Frames, close_frame};

/// Frames of one write. More would not make a write cheaper.
const FRAMES_AT_ONCE: usize = 256;

/// Bytes of one write, unless a single frame has more.
const BYTES_AT_ONCE: usize = 256 << 10;

/// Bytes from which on a client lags: more than a fast one ever has waiting, and far less than
/// memory for each of very many.
const LAG_BYTES: usize = 256 << 10;

/// The same as a part of the bound, where the bound is small.
const LAG_PART: usize = 4;

/// A client has caught up when this part of what made it lag is left.
const CAUGHT_UP_PART: usize = 4;

/// Frames of one client.
#[derive(Debug)]
pub(crate) struct Outbox {
    session: SessionId,
    bytes_max: usize,
    /// Whether the client reads JSON text; binary until it has shown that it does.
    json: AtomicBool,
    queue: Mutex<Queue>,
    ready: Notify,
    /// Told when a client that lagged has caught up.
    caught_up: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Frames>,
    bytes: usize,
    /// How many of these are the answer to a subscription. They do not count against the bound: a
    /// document may be larger than it, and the client has asked for the document.
    answer_bytes: usize,
    state: State,
    /// Whether the writer was told of what is queued, or will be.
    woken: bool,
    is_lagging: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The last frame is queued; nothing more is taken.
    Closing,
    /// Nobody will read it any more.
    Closed,
}

/// What a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Nothing else.
    Message,
    /// The state that answers a subscription.
    Answer,
    /// The fields that follow that state.
    RestOfAnswer,
}

/// What the writer sends next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// These, then ask again.
    Frames(Vec<Bytes>),
    /// Nothing more.
    End,
}

impl Outbox {
    pub(crate) fn new(session: SessionId, bytes_max: usize) -> Self {
        Self {
            session,
            bytes_max,
            json: AtomicBool::new(false),
            queue: Mutex::default(),
            ready: Notify::new(),
            caught_up: Notify::new(),
        }
    }

    /// Whose it is.
    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    /// Whether its client reads too slowly. Whoever then keeps something from it hears when it has
    /// caught up.
    pub(crate) fn is_lagging(&self) -> bool {
        let mut queue = self.queue.lock();
        let live_bytes = queue.bytes.saturating_sub(queue.answer_bytes);
        queue.is_lagging |= queue.state == State::Open && live_bytes > self.lag_bytes();
        queue.is_lagging
    }

    fn lag_bytes(&self) -> usize {
        LAG_BYTES.min(self.bytes_max / LAG_PART)
    }

    /// Waits until the client has caught up. Cancel-safe.
    pub(crate) async fn caught_up(&self) {
        self.caught_up.notified().await;
    }

    pub(crate) fn set_framing(&self, framing: Framing) {
        self.json.store(framing == Framing::Json, Ordering::Relaxed);
    }

    pub(crate) fn framing(&self) -> Framing {
        if self.json.load(Ordering::Relaxed) { Framing::Json } else { Framing::Binary }
    }

    /// Queues one message and wakes the writer.
    pub(crate) fn send(&self, message: &ServerMessage) {
        self.push(encode_frame(message, self.framing()));
    }

    /// Queues one frame and wakes the writer.
    pub(crate) fn push(&self, frame: Bytes) {
        if self.enqueue([frame.into()], Part::Message) {
            self.wake();
        }
    }

    /// Queues frames; the writer is woken by the caller when it has queued everything, so that
    /// all of it goes out in one write.
    pub(crate) fn push_later(
        self: &Arc<Self>,
        frames: impl IntoIterator<Item = Frames>,
        part: Part,
        wake: &mut Vec<Arc<Self>>,
    ) {
        if self.enqueue(frames, part) {
            wake.push(Arc::clone(self));
        }
    }

    /// Wakes the writer.
    pub(crate) fn wake(&self) {
        self.ready.notify_one();
    }

    /// Sends what is queued, then this goodbye; whoever comes first gives the reason.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        let mut queue = self.queue.lock();
        if queue.state == State::Open {
            queue.finish(code, reason);
            drop(queue);
            self.wake();
        }
    }

    /// Sends what is queued, then this last frame.
    pub(crate) fn close_with(&self, last: Option<Bytes>) {
        let mut queue = self.queue.lock();
        if queue.state == State::Open {
            queue.frames.extend(last.map(Frames::from));
            queue.state = State::Closing;
            drop(queue);
            self.wake();
        }
    }

    /// Throws away what is queued: the client is gone.
    pub(crate) fn abandon(&self) {
        let mut queue = self.queue.lock();
        *queue = Queue { state: State::Closed, woken: true, ..Queue::default() };
        drop(queue);
        self.wake();
    }

    /// Waits for something to send. Cancel-safe: nothing is taken before it returns.
    pub(crate) async fn next(&self) -> Next {
        loop {
            let ready = self.ready.notified();
            if let Some(next) = self.take() {
                return next;
            }
            ready.await;
        }
    }

    fn enqueue(&self, frames: impl IntoIterator<Item = Frames>, part: Part) -> bool {
        let mut queue = self.queue.lock();
        for frame in frames {
            queue.add(frame, part, self.bytes_max);
        }
        !queue.frames.is_empty() && !std::mem::replace(&mut queue.woken, true)
    }

    fn take(&self) -> Option<Next> {
        let mut queue = self.queue.lock();
        // What was taken before has been written by now.
        if queue.is_lagging && queue.bytes <= self.lag_bytes() / CAUGHT_UP_PART {
            queue.is_lagging = false;
            self.caught_up.notify_one();
        }
        if queue.frames.is_empty() {
            queue.woken = false;
            // An idle connection keeps no queue.
            queue.frames = VecDeque::new();
            return (queue.state != State::Open).then_some(Next::End);
        }
        let mut taken = Vec::with_capacity(queue.frames.len().min(FRAMES_AT_ONCE));
        let mut bytes = 0;
        while taken.len() < FRAMES_AT_ONCE
            && bytes < BYTES_AT_ONCE
            && let Some(frames) = queue.frames.pop_front()
        {
            bytes += frames.len();
            match frames {
                Frames::Whole(frames) => taken.push(frames),
                Frames::Split(pieces) => taken.extend(*pieces),
            }
        }
        queue.bytes = queue.bytes.saturating_sub(bytes);
        queue.answer_bytes = queue.answer_bytes.saturating_sub(bytes);
        Some(Next::Frames(taken))
    }
}

impl Queue {
    fn add(&mut self, frames: Frames, part: Part, bytes_max: usize) {
        if self.state != State::Open {
            return;
        }
        let bound = match part {
            // One answer at a time, however often the client asks.
            Part::Answer => bytes_max,
            Part::Message => bytes_max.saturating_add(self.answer_bytes),
            Part::RestOfAnswer => usize::MAX,
        };
        if self.bytes > bound {
            // It will get all of it again when it comes back.
            self.frames.clear();
            self.finish(CloseCode::TryAgainLater, "Too slow, please reconnect");
            return;
        }
        self.bytes += frames.len();
        if part != Part::Message {
            self.answer_bytes += frames.len();
        }
        self.frames.push_back(frames);
    }

    fn finish(&mut self, code: CloseCode, reason: &str) {
        self.frames.push_back(close_frame(code, reason).into());
        self.state = State::Closing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_out_in_order_and_all_at_once() {
        let outbox = Arc::new(Outbox::new(SessionId(1), 100));
        let mut wake = Vec::new();
        for frame in ["a", "b", "c"] {
            outbox.push_later([Bytes::from(frame).into()], Part::Message, &mut wake);
        }
        assert_eq!(wake.len(), 1, "the writer is woken once");
        assert_eq!(outbox.next().await, Next::Frames(["a", "b", "c"].map(Bytes::from).into()));
    }

    #[tokio::test]
    async fn a_full_outbox_is_closed_with_a_code_that_says_come_back() {
        let outbox = Outbox::new(SessionId(1), 10);
        outbox.push(Bytes::from(vec![0; 11]));
        outbox.push(Bytes::from("one too many"));
        outbox.push(Bytes::from("not taken"));
        let goodbye = close_frame(CloseCode::TryAgainLater, "Too slow, please reconnect");
        assert_eq!(outbox.next().await, Next::Frames(vec![goodbye]));
        assert_eq!(outbox.next().await, Next::End);
    }

    #[tokio::test]
    async fn a_document_may_be_larger_than_the_bound() {
        let outbox = Arc::new(Outbox::new(SessionId(1), 10));
        let mut wake = Vec::new();
        let large = Bytes::from(vec![0; 100]);
        let frame = || [Frames::from(large.clone())];
        outbox.push_later(frame(), Part::Answer, &mut wake);
        outbox.push_later(frame(), Part::RestOfAnswer, &mut wake);
        outbox.push(Bytes::from("live"));
        let all = vec![large.clone(), large.clone(), Bytes::from("live")];
        assert_eq!(outbox.next().await, Next::Frames(all));
        outbox.push_later(frame(), Part::Answer, &mut wake);
        outbox.push_later(frame(), Part::Answer, &mut wake);
        let goodbye = close_frame(CloseCode::TryAgainLater, "Too slow, please reconnect");
        assert_eq!(outbox.next().await, Next::Frames(vec![goodbye]), "but only one at a time");
    }

    #[tokio::test]
    async fn a_client_lags_from_a_bound_until_what_was_queued_is_written() {
        let outbox = Outbox::new(SessionId(1), 400);
        outbox.push(Bytes::from(vec![0; 100]));
        assert!(!outbox.is_lagging());
        outbox.push(Bytes::from(vec![0; 1]));
        assert!(outbox.is_lagging());
        outbox.next().await;
        assert!(outbox.is_lagging(), "the writer has taken it, and may not have written it");
        outbox.push(Bytes::from(vec![0; 25]));
        outbox.next().await;
        assert!(!outbox.is_lagging());
        outbox.caught_up().await;
    }

    #[tokio::test]
    async fn a_close_is_sent_behind_what_was_queued() {
        let outbox = Outbox::new(SessionId(1), 10);
        outbox.push(Bytes::from("first"));
        outbox.close(CloseCode::GoingAway, "bye");
        outbox.close(CloseCode::Normal, "too late");
        let goodbye = close_frame(CloseCode::GoingAway, "bye");
        assert_eq!(outbox.next().await, Next::Frames(vec![Bytes::from("first"), goodbye]));
        assert_eq!(outbox.next().await, Next::End);
    }
}
