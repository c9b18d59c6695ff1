//! Group commit. Rooms give their edits to a lane; a lane stores everything that queued while its
//! last commit ran in one append. No timer: an idle lane adds no delay, a busy one makes large
//! batches by itself.

mod batch;
mod lane;
mod ticket;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use synckit_engine::ids::DocumentId;
use synckit_store::StorageProvider;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::gate::Gate;
use crate::supervision::Supervisor;
use lane::{Lane, Pulse};
pub(crate) use ticket::Ticket;

/// Edits waiting for one lane. A full lane makes rooms wait, and so in the end the sockets.
const LANE_QUEUE: usize = 4_096;

/// The lanes. A document's edits all go through one of them, in order.
#[derive(Debug, Clone)]
pub(crate) struct Committer {
    lanes: Arc<[Entrance]>,
    hasher: Arc<RandomState>,
}

#[derive(Debug)]
struct Entrance {
    queue: mpsc::Sender<Ticket>,
    pulse: Arc<Pulse>,
}

impl Committer {
    /// Starts the lanes on `tasks`. They end when the last [`Committer`] is gone.
    pub(crate) fn start(
        provider: &Arc<dyn StorageProvider>,
        gate: &Gate,
        lanes: usize,
        write_hold: Duration,
        tasks: &TaskTracker,
        supervisor: &Supervisor,
    ) -> Self {
        let lanes = (0..lanes)
            .map(|_| {
                let (sender, queue) = mpsc::channel(LANE_QUEUE);
                let pulse = Arc::new(Pulse::new());
                let (provider, gate) = (Arc::clone(provider), gate.clone());
                let lane = Lane::new(provider, gate, write_hold, queue, Arc::clone(&pulse));
                // Safe to run again: what it held in hand is answered as not stored, what waits
                // still waits, in order.
                supervisor.spawn(tasks, "lane", lane, |lane| Box::pin(lane.run()));
                Entrance { queue: sender, pulse }
            })
            .collect();
        Self { lanes, hasher: Arc::new(RandomState::new()) }
    }

    /// The lane of a document.
    pub(crate) fn lane(&self, document: &DocumentId) -> mpsc::Sender<Ticket> {
        let lanes = self.lanes.len() as u64;
        let at = usize::try_from(self.hasher.hash_one(document) % lanes).unwrap_or_default();
        self.lanes[at].queue.clone()
    }

    /// What is wrong with a lane, if anything is.
    pub(crate) fn complaint(&self) -> Option<String> {
        self.lanes.iter().find_map(|Entrance { queue, pulse }| {
            if queue.is_closed() {
                return Some("the task that commits edits has ended".to_owned());
            }
            pulse.complaint()
        })
    }
}

#[cfg(test)]
mod tests {
    use synckit_store::memory::MemoryProvider;
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn lanes_that_live_have_no_complaint_and_one_that_has_ended_has() {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let committer = runtime.block_on(async {
            let provider: Arc<dyn StorageProvider> = Arc::new(MemoryProvider::new());
            let tasks = TaskTracker::new();
            let supervisor = Supervisor::default();
            let gate = Gate::start(&provider, &tasks, &supervisor);
            Committer::start(&provider, &gate, 2, Duration::from_secs(1), &tasks, &supervisor)
        });
        assert_eq!(committer.complaint(), None);
        // Takes its tasks with it, as a panic would.
        drop(runtime);
        assert_eq!(committer.complaint().unwrap(), "the task that commits edits has ended");
    }
}
