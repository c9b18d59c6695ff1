//! One lane: stores batch after batch, and answers every edit in time.
//!
//! While a call is under way, or the store is away, the lane goes on looking at what waits: an edit
//! that was read longer ago than it may be held is answered, however deep it is queued.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use synckit_store::{Append, Appended, Cause, StorageProvider, StoreError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::batch::{Batch, BatchSize, refuse_waiting};
use super::ticket::Ticket;
use crate::rooms::backoff::Backoff;
use crate::rooms::gate::Gate;

/// Edits that a lane has taken out of its queue and not yet into a batch.
const WAITING_MAX: usize = 4_096;

/// Between two looks at the age of what waits.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A call that is under way for so long may hang. Before, what waits is only waiting its turn.
const MAY_HANG_AFTER: Duration = Duration::from_millis(250);

/// The least time that a call gets. With [`MAY_HANG_AFTER`] and [`LOOK_EVERY`] it is less than the
/// second within which an edit is answered after it was held.
const CALL_MIN: Duration = Duration::from_millis(500);

/// Between two signs of life while there is nothing to do.
const BEAT_EVERY: Duration = Duration::from_millis(500);

/// A lane that gives no sign for so long does not live any more.
const SILENT_AFTER: Duration = Duration::from_secs(3);

/// A failed commit says so long that the next one will fail, where a small write would not: on a
/// disk that is nearly full. Longer than the pause before the next try.
const FAILURE_COUNTS_FOR: Duration = Duration::from_millis(1_500);

/// A commit that takes so long is one of a store that hangs.
const COMMIT_LONG: Duration = Duration::from_secs(2);

/// What others see of a lane.
#[derive(Debug)]
pub(super) struct Pulse {
    state: Mutex<PulseState>,
}

#[derive(Debug)]
struct PulseState {
    beat_at: Instant,
    /// Since when it has had something to store, and stored nothing.
    unstored_since: Option<Instant>,
    /// When the last commit failed, unless one was stored since, and why.
    failed: Option<(Instant, StoreError)>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        let beat_at = Instant::now();
        Self { state: Mutex::new(PulseState { beat_at, unstored_since: None, failed: None }) }
    }

    fn beat(&self) {
        self.state.lock().beat_at = Instant::now();
    }

    fn try_begins(&self) {
        let mut state = self.state.lock();
        let now = Instant::now();
        state.beat_at = now;
        state.unstored_since.get_or_insert(now);
    }

    fn has_stored(&self) {
        self.state.lock().failed = None;
        self.has_nothing_left();
    }

    fn has_failed(&self, error: &StoreError) {
        self.state.lock().failed = Some((Instant::now(), error.clone()));
    }

    fn has_nothing_left(&self) {
        let mut state = self.state.lock();
        state.beat_at = Instant::now();
        state.unstored_since = None;
    }

    pub(super) fn complaint(&self) -> Option<String> {
        let state = self.state.lock();
        if state.beat_at.elapsed() > SILENT_AFTER {
            let silent = state.beat_at.elapsed().as_secs();
            return Some(format!("the task that commits edits does nothing for {silent} s"));
        }
        if let Some((at, error)) = &state.failed
            && at.elapsed() < FAILURE_COUNTS_FOR
        {
            return Some(error.to_string());
        }
        let unstored = state.unstored_since?.elapsed();
        (unstored > COMMIT_LONG).then(|| format!("edits are not stored since {unstored:.1?}"))
    }
}

pub(super) struct Lane {
    provider: Arc<dyn StorageProvider>,
    gate: Gate,
    write_hold: Duration,
    queue: mpsc::Receiver<Ticket>,
    pulse: Arc<Pulse>,
    /// To be stored first, in this order.
    batches: VecDeque<Batch>,
    waiting: VecDeque<Ticket>,
    answers: Answers,
    size: BatchSize,
    backoff: Backoff,
    /// Whether the last call failed.
    is_failing: bool,
}

impl Lane {
    pub(super) fn new(
        provider: Arc<dyn StorageProvider>,
        gate: Gate,
        write_hold: Duration,
        queue: mpsc::Receiver<Ticket>,
        pulse: Arc<Pulse>,
    ) -> Self {
        Self {
            provider,
            gate,
            write_hold,
            queue,
            pulse,
            batches: VecDeque::new(),
            waiting: VecDeque::new(),
            answers: Answers::default(),
            size: BatchSize::default(),
            backoff: Backoff::new(),
            is_failing: false,
        }
    }

    /// May be run again after a panic: what waits still waits, in order.
    pub(super) async fn run(&mut self) {
        while let Some(batch) = self.next_batch().await {
            self.commit(batch).await;
        }
    }

    async fn next_batch(&mut self) -> Option<Batch> {
        if let Some(batch) = self.batches.pop_front() {
            return Some(batch);
        }
        if self.waiting.is_empty() && self.queue.is_empty() {
            self.answers.give();
            self.pulse.has_nothing_left();
            let first = loop {
                match timeout(BEAT_EVERY, self.queue.recv()).await {
                    Ok(received) => break received?,
                    Err(_) => self.pulse.beat(),
                }
            };
            self.waiting.push_back(first);
        }
        // What waits must not wait for company.
        self.take_what_came();
        Some(Batch::take(&mut self.waiting, self.size))
    }

    fn take_what_came(&mut self) {
        while self.waiting.len() < WAITING_MAX
            && let Ok(ticket) = self.queue.try_recv()
        {
            self.waiting.push_back(ticket);
        }
    }

    /// One try to store a batch. What is left of it then comes first.
    async fn commit(&mut self, mut batch: Batch) {
        let appends = batch.appends();
        self.pulse.try_begins();
        let outcome = self.append(&appends, self.time_for(&batch)).await;
        let error = match outcome {
            Ok(appended) => {
                self.answers.0 = Some((batch, appends, appended));
                self.is_failing = false;
                self.size.double();
                self.backoff = Backoff::new();
                return self.pulse.has_stored();
            }
            Err(error) => error,
        };
        batch.restore(appends);
        match error {
            StoreError::DocumentDamaged { document, reason } if batch.has(&document) => {
                batch.give_up_on(&document, &reason);
            }
            // One bad edit must not take others with it.
            StoreError::EditRefused(reason) => match batch.split() {
                Some(halves) => return self.put_first(halves),
                None => return batch.refuse(&reason),
            },
            error => {
                self.is_failing = true;
                tracing::debug!(error = %error, "append failed, trying again");
                self.gate.write_failed(&error);
                self.pulse.has_failed(&error);
                batch.refuse_older_than(self.write_hold);
                if error.cause() == Some(Cause::Timeout) {
                    // It may have been too much, or one document of it that somebody holds.
                    self.size.halve();
                    match batch.split() {
                        Some(halves) => self.put_first(halves),
                        None => self.put_first([batch]),
                    }
                } else {
                    self.put_first([batch]);
                }
                return self.pause().await;
            }
        }
        self.put_first([batch]);
    }

    fn put_first<const N: usize>(&mut self, batches: [Batch; N]) {
        for batch in batches.into_iter().rev() {
            if !batch.is_empty() {
                self.batches.push_front(batch);
            }
        }
    }

    /// What the oldest edit of a batch has left.
    fn time_for(&self, batch: &Batch) -> Duration {
        let age = batch.oldest().map_or(Duration::ZERO, |oldest| oldest.elapsed());
        self.write_hold.saturating_sub(age).max(CALL_MIN)
    }

    /// Appends. The answers of the batch before are given when the call is under way, so that the
    /// store need not wait for that.
    async fn append(
        &mut self,
        appends: &[Append],
        time: Duration,
    ) -> Result<Vec<Appended>, StoreError> {
        let provider = Arc::clone(&self.provider);
        let begin = Instant::now();
        let mut append = pin!(timeout(time, provider.documents().append(appends)));
        let outcome = tokio::select! {
            biased;
            outcome = &mut append => Some(outcome),
            () = std::future::ready(()) => None,
        };
        self.answers.give();
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => loop {
                tokio::select! {
                    biased;
                    outcome = &mut append => break outcome,
                    () = sleep(LOOK_EVERY) => {
                        if self.is_failing || begin.elapsed() >= MAY_HANG_AFTER {
                            self.refuse_old();
                        }
                        self.pulse.beat();
                    }
                }
            },
        };
        let late = || StoreError::unavailable(Cause::Timeout, format!("no answer within {time:?}"));
        outcome.unwrap_or_else(|_| Err(late()))
    }

    /// Waits until another try makes sense.
    async fn pause(&mut self) {
        let gate = self.gate.clone();
        let mut backoff = std::mem::replace(&mut self.backoff, Backoff::new());
        {
            let over = async {
                tokio::join!(gate.writes_open(), backoff.pause());
            };
            let mut over = pin!(over);
            loop {
                tokio::select! {
                    () = &mut over => break,
                    () = sleep(LOOK_EVERY) => {
                        self.refuse_old();
                        self.pulse.beat();
                    }
                }
                let is_idle = self.batches.is_empty() && self.waiting.is_empty();
                if is_idle && self.queue.is_empty() {
                    self.pulse.has_nothing_left();
                    if self.queue.is_closed() {
                        break;
                    }
                }
            }
        }
        self.backoff = backoff;
    }

    /// Answers what has waited too long.
    fn refuse_old(&mut self) {
        let write_hold = self.write_hold;
        let is_old = |ticket: &Ticket| ticket.since.elapsed() >= write_hold;
        for batch in &mut self.batches {
            batch.refuse_older_than(write_hold);
        }
        self.batches.retain(|batch| !batch.is_empty());
        let (old, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(is_old);
        let old: VecDeque<Ticket> = old;
        self.waiting = waiting;
        old.iter().for_each(refuse_waiting);
        while self.waiting.len() < WAITING_MAX
            && let Ok(ticket) = self.queue.try_recv()
        {
            if is_old(&ticket) {
                refuse_waiting(&ticket);
            } else {
                self.waiting.push_back(ticket);
            }
        }
    }
}

/// Answers of a batch that is stored.
#[derive(Default)]
struct Answers(Option<(Batch, Vec<Append>, Vec<Appended>)>);

impl Answers {
    fn give(&mut self) {
        if let Some((batch, appends, appended)) = self.0.take() {
            batch.stored(appends, appended);
        }
    }
}
