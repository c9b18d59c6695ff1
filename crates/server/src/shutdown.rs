//! The stages of a stop. Each starts when everything of the one before has ended or its share of
//! the deadline is over.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use synckit_engine::ids::SessionId;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::supervision::Supervisor;

/// Between two closed connections, so that a server or a load balancer sees a thousand new ones a
/// second rather than all at once.
const CLOSE_INTERVAL: Duration = Duration::from_millis(1);

/// Of what is left of the deadline when connections are closed, closing may take this part; the rest
/// is for slow readers of the goodbye.
const CLOSING_SHARE: u32 = 4;

/// Signals that tell tasks to end, and trackers that tell when they have.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shutdown {
    /// The server is about to stop and says so to those who send it clients. All else goes on.
    pub(crate) leaving: CancellationToken,
    /// Accept and read no more.
    pub(crate) intake: CancellationToken,
    /// Finish what was taken in.
    pub(crate) drain: CancellationToken,
    /// Send what is queued, then close.
    pub(crate) close: CancellationToken,
    /// Tasks that end with `intake`.
    pub(crate) readers: TaskTracker,
    /// Tasks that end with `drain`.
    pub(crate) rooms: TaskTracker,
    /// Tasks that end with `close`.
    pub(crate) writers: TaskTracker,
    /// Tasks that end when nobody can give them work any more.
    pub(crate) lanes: TaskTracker,
    /// Over how long the connections are closed.
    closing: Arc<Mutex<Duration>>,
    /// Runs those of them again that fail.
    pub(crate) supervisor: Supervisor,
}

impl Shutdown {
    /// Lets those who send clients find out, before any is turned away.
    pub(crate) async fn leave(&self, delay: Duration) {
        self.leaving.cancel();
        sleep(delay).await;
    }

    /// When a connection is to say goodbye.
    pub(crate) fn goodbye(&self, id: SessionId) -> Goodbye {
        Goodbye { close: self.close.clone(), closing: Arc::clone(&self.closing), id }
    }

    /// Runs the stages; whether all tasks ended in time.
    pub(crate) async fn run(&self, deadline: Duration) -> bool {
        let start = Instant::now();
        // Tenths of the deadline after which a stage must have ended: a store that does not answer
        // leaves time for the goodbye.
        let stages = [
            (&self.intake, &self.readers, 2),
            (&self.drain, &self.rooms, 8),
            (&self.close, &self.writers, 10),
        ];
        let mut in_time = true;
        self.leaving.cancel();
        for (signal, tasks, tenths) in stages {
            let end = start + deadline * tenths / 10;
            let left = end.saturating_duration_since(Instant::now());
            let open = u32::try_from(self.writers.len()).unwrap_or(u32::MAX);
            let closing = CLOSE_INTERVAL.saturating_mul(open).min(left / CLOSING_SHARE);
            // Of the last stage, which is the one that it is for.
            *self.closing.lock() = closing;
            signal.cancel();
            tasks.close();
            in_time &= tokio::time::timeout_at(end, tasks.wait()).await.is_ok();
        }
        self.lanes.close();
        in_time
    }
}

/// The moment at which one connection is closed.
#[derive(Debug)]
pub(crate) struct Goodbye {
    close: CancellationToken,
    closing: Arc<Mutex<Duration>>,
    id: SessionId,
}

impl Goodbye {
    /// Waits for it.
    pub(crate) async fn due(&self) {
        self.close.cancelled().await;
        let closing = *self.closing.lock();
        // Idle connections have no place for it.
        Box::pin(sleep(closing.mul_f64(place(self.id)))).await;
    }
}

/// From 0 to 1: multiples of the golden ratio spread evenly, however many there are.
fn place(id: SessionId) -> f64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let place = id.0.wrapping_mul(GOLDEN) >> 40;
    f64::from(u32::try_from(place).unwrap_or_default()) / f64::from(1_u32 << 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_closed_evenly_whichever_are_left() {
        for (first, step) in [(1, 1), (1, 2), (5_000, 7)] {
            let mut tenths = [0; 10];
            for number in 0..1_000 {
                let tenth = place(SessionId(first + number * step)) * 10.0;
                let tenth = (0_u32..10).rposition(|from| tenth >= f64::from(from)).unwrap();
                tenths[tenth] += 1;
            }
            assert!(tenths.iter().all(|count| (80..=120).contains(count)), "{tenths:?}");
        }
    }
}
