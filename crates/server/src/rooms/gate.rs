//! Whether the store does its work, for everybody on this node who needs it.
//!
//! Who meets a store that is not available says so here and waits. One task asks the store whether
//! it is back, so that an outage costs one question at a time and one line of the log, however many
//! rooms and lanes wait. Reading and writing are told apart: a standby can be read.

use std::sync::{Arc, Weak};
use std::time::Duration;

use synckit_store::{Cause, StorageProvider, StoreError, Unavailable};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::supervision::Supervisor;

use super::backoff::Backoff;

/// How long one question may take.
const ASK_DEADLINE: Duration = Duration::from_secs(1);

/// The longest pause between two questions: with a question it is less than the two seconds within
/// which a store that is back is used again.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Between two lines of the log about calls that fail while the store is well.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// That the store can't do its work.
#[derive(Debug, Clone)]
pub(crate) struct Outage {
    pub(crate) since: Instant,
    pub(crate) error: Unavailable,
}

type State = Option<Outage>;

/// One for all who use the store of a node.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    reads: watch::Sender<State>,
    writes: watch::Sender<State>,
    /// Wakes the task that asks.
    wake: mpsc::Sender<()>,
}

impl Gate {
    /// Starts the task that asks on `tasks`; it ends when the last [`Gate`] is gone.
    pub(crate) fn start(
        provider: &Arc<dyn StorageProvider>,
        tasks: &TaskTracker,
        supervisor: &Supervisor,
    ) -> Self {
        let (wake, woken) = mpsc::channel(1);
        let (reads, writes) = (watch::Sender::new(None), watch::Sender::new(None));
        let shared = Arc::new(Shared { reads, writes, wake });
        let watch =
            Watch { provider: Arc::clone(provider), shared: Arc::downgrade(&shared), woken };
        // Safe to run again: it knows nothing but what it asks.
        supervisor.spawn(tasks, "gate", watch, |watch| Box::pin(watch.run()));
        Self { shared }
    }

    /// Takes note of a read that failed. Errors that are not about the store as a whole are no
    /// reason to keep others from it.
    pub(super) fn read_failed(&self, error: &StoreError) {
        self.note(&self.shared.reads, error);
    }

    /// The same of a write.
    pub(super) fn write_failed(&self, error: &StoreError) {
        self.note(&self.shared.writes, error);
    }

    /// Has the store asked whether it is well. Who waits for it is stopped only if it isn't.
    pub(super) fn suspect(&self) {
        let _ = self.shared.wake.try_send(());
    }

    /// Waits until something can't be done.
    pub(super) async fn shut(&self) {
        let mut reads = self.shared.reads.subscribe();
        let mut writes = self.shared.writes.subscribe();
        tokio::select! {
            // They can't be closed: this holds the senders.
            _ = reads.wait_for(Option::is_some) => {}
            _ = writes.wait_for(Option::is_some) => {}
        }
    }

    fn note(&self, state: &watch::Sender<State>, error: &StoreError) {
        if let StoreError::Unavailable(error) = error {
            note_outage(state, error);
            // A place that is taken wakes the task just as well.
            let _ = self.shared.wake.try_send(());
        }
    }

    /// Why nothing can be written, if so.
    pub(crate) fn writes_outage(&self) -> State {
        self.shared.writes.borrow().clone()
    }

    pub(super) fn are_reads_shut(&self) -> bool {
        self.shared.reads.borrow().is_some()
    }

    /// Waits until reading is worth a try.
    pub(super) async fn reads_open(&self) {
        open(&self.shared.reads).await;
    }

    /// Waits until writing is worth a try.
    pub(super) async fn writes_open(&self) {
        open(&self.shared.writes).await;
    }

    /// Waits until nothing could be read for as long as `patience`, from now on; why.
    pub(super) async fn reads_lost(&self, patience: Duration) -> StoreError {
        let mut reads = self.shared.reads.subscribe();
        loop {
            let shut = reads.wait_for(Option::is_some).await;
            let Ok(Some(outage)) = shut.map(|state| state.clone()) else {
                return std::future::pending().await;
            };
            let opened = reads.wait_for(Option::is_none);
            if timeout(patience, opened).await.is_err() {
                return StoreError::Unavailable(outage.error);
            }
        }
    }
}

async fn open(state: &watch::Sender<State>) {
    // It can't be closed: the caller holds the sender.
    let _ = state.subscribe().wait_for(Option::is_none).await;
}

fn note_outage(state: &watch::Sender<State>, error: &Unavailable) {
    state.send_if_modified(|state| {
        let since = state.as_ref().map_or_else(Instant::now, |outage| outage.since);
        let has_begun = state.is_none();
        *state = Some(Outage { since, error: error.clone() });
        has_begun
    });
}

/// Asks the store, while it can't do its work, until it can.
struct Watch {
    provider: Arc<dyn StorageProvider>,
    shared: Weak<Shared>,
    woken: mpsc::Receiver<()>,
}

impl Watch {
    async fn run(&mut self) {
        let mut told_at: Option<Instant> = None;
        while self.woken.recv().await.is_some() {
            let mut backoff = Backoff::up_to(PAUSE_MAX);
            let mut is_told = false;
            loop {
                let (reads, writes) = ask(&*self.provider).await;
                let Some(shared) = self.shared.upgrade() else { return };
                let before =
                    shared.writes.borrow().clone().or_else(|| shared.reads.borrow().clone());
                settle(&shared.reads, &reads);
                settle(&shared.writes, &writes);
                let Err(error) = reads.and(writes) else {
                    if let Some(Outage { since, error }) = before {
                        let duration_ms =
                            u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                        if is_told {
                            tracing::info!(duration_ms, "the store is back");
                        } else if told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
                            told_at = Some(Instant::now());
                            tracing::warn!(%error, "a call failed, though the store does its work");
                        }
                    }
                    break;
                };
                if !std::mem::replace(&mut is_told, true) {
                    tracing::error!(%error, "the store can't do its work; it is asked until it can");
                }
                drop(shared);
                backoff.pause().await;
            }
        }
    }
}

fn settle(state: &watch::Sender<State>, answer: &Result<(), Unavailable>) {
    match answer {
        Ok(()) => {
            state.send_if_modified(|state| state.take().is_some());
        }
        Err(error) => note_outage(state, error),
    }
}

/// Whether the store can be read, and whether it can be written to.
async fn ask(provider: &dyn StorageProvider) -> (Result<(), Unavailable>, Result<(), Unavailable>) {
    let (health, written) = tokio::join!(
        timeout(ASK_DEADLINE, provider.check_health()),
        timeout(ASK_DEADLINE, provider.try_write()),
    );
    let health = health.unwrap_or_else(|_| Err(no_answer()));
    let written = written.unwrap_or_else(|_| Err(no_answer()));
    let writes = match &health {
        Ok(health) => health.writes_refused.clone().map_or(Ok(()), Err),
        Err(_) => Ok(()),
    };
    (as_unavailable(health), writes.and(as_unavailable(written)))
}

fn no_answer() -> StoreError {
    StoreError::unavailable(Cause::Timeout, format!("no answer within {ASK_DEADLINE:?}"))
}

fn as_unavailable<T>(result: Result<T, StoreError>) -> Result<(), Unavailable> {
    match result {
        Ok(_) => Ok(()),
        Err(StoreError::Unavailable(error)) => Err(error),
        Err(error) => Err(Unavailable { cause: Cause::Other, reason: error.to_string() }),
    }
}
