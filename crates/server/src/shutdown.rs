//! The stages of a stop. Each starts when everything of the one before has ended or its share of
//! the deadline is over.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::supervision::Supervisor;

/// Signals that tell tasks to end, and trackers that tell when they have.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shutdown {
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
    /// Runs those of them again that fail.
    pub(crate) supervisor: Supervisor,
}

impl Shutdown {
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
        for (signal, tasks, tenths) in stages {
            signal.cancel();
            tasks.close();
            let end = start + deadline * tenths / 10;
            in_time &= tokio::time::timeout_at(end, tasks.wait()).await.is_ok();
        }
        self.lanes.close();
        in_time
    }
}
