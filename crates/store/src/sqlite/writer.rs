//! The one thread that writes, and group commit: everything that queued while the last transaction
//! ran goes into the next one, and all are answered when that is on the disk. No timer: an idle
//! writer adds no delay, a busy one makes large groups by itself.
//!
//! After a failed write or sync SQLite takes the transaction back, and the writer goes on: what the
//! log held before was synced by its own commit, and the next transaction writes its pages to the
//! same place in the log again, so nothing rests on pages that the system may have dropped. The
//! same holds for the database file, which the log outlives until a checkpoint has synced it. What
//! such a call wrote may still be there after a restart, as S3 allows.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Cause, StoreError};

use super::SqliteOptions;
use super::file::DatabaseFile;
use super::group::{Group, Unfilable};
use super::recent::Recent;

/// Calls that wait for the writer; and so the largest group. Further callers wait outside, within
/// their deadlines. Four times the writers that the throughput goal names.
const QUEUE_CALLS: usize = 1_024;

/// Bytes after which a group ends: a larger one adds little throughput, only the wait of its first.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// Pages in the log after which it is carried over to the database file: 16 MiB. Fewer make the
/// same pages be written more often, more make reading and opening slower.
const LOG_PAGES_MAX: i32 = 4_000;

/// What can be done to the documents, within a transaction.
pub(super) trait Work: Send + 'static {
    type Output: Send + 'static;

    /// May run a second time, after the first was taken back.
    fn run(&self, group: &mut Group<'_>) -> Result<Self::Output, StoreError>;

    /// About how much there is to write.
    fn bytes(&self) -> usize {
        0
    }
}

/// [`Work`] in the queue, whatever its output.
trait Call: Send {
    /// Whether nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;
    fn bytes(&self) -> usize;
    fn run(&mut self, group: &mut Group<'_>) -> Result<(), StoreError>;
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct TypedCall<W: Work> {
    work: W,
    output: Option<W::Output>,
    reply: oneshot::Sender<Result<W::Output, StoreError>>,
}

impl<W: Work> Call for TypedCall<W> {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn bytes(&self) -> usize {
        self.work.bytes()
    }

    fn run(&mut self, group: &mut Group<'_>) -> Result<(), StoreError> {
        self.output = Some(self.work.run(group)?);
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let output = self.output;
        let answer = committed.and_then(|()| output.ok_or_else(stopped));
        // The caller may have given up.
        let _ = self.reply.send(answer);
    }
}

/// The way to the thread. Dropping it waits until what is queued is stored and the file is closed:
/// one group or two, so milliseconds on a disk that works.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Call>>>,
    thread: Option<JoinHandle<()>>,
    call_timeout: Duration,
}

impl std::fmt::Debug for dyn Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Call")
    }
}

impl Writer {
    pub(super) fn start(
        file: DatabaseFile,
        mut connection: Connection,
        epoch_base: u64,
        options: &SqliteOptions,
    ) -> Result<Self, StoreError> {
        let (sender, queue) = mpsc::channel(QUEUE_CALLS);
        let log_pages = Arc::new(AtomicI32::new(0));
        let noted = Arc::clone(&log_pages);
        // Takes the place of SQLite's own checkpoint, which runs before callers are answered and
        // keeps its errors to itself.
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            noted.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        let thread = WriterThread {
            connection,
            queue,
            epoch_base,
            log_pages,
            recent: None,
            recent_max: options.recent_max,
            unfilable: HashSet::new(),
            sweeping: true,
            file,
        };
        let thread = std::thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || thread.run())
            .map_err(|error| {
                StoreError::unavailable(Cause::Overloaded, format!("start a thread: {error}"))
            })?;
        let call_timeout = options.call_timeout;
        Ok(Self { queue: Some(sender), thread: Some(thread), call_timeout })
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        match &self.queue {
            Some(queue) if !queue.is_closed() => Ok(()),
            _ => Err(stopped()),
        }
    }

    /// Has it done, and on the disk, or says why not. Dropping the future leaves open whether.
    pub(super) async fn run<W: Work>(&self, work: W) -> Result<W::Output, StoreError> {
        let (reply, answer) = oneshot::channel();
        let call = Box::new(TypedCall { work, output: None, reply });
        let done = async {
            let queue = self.queue.as_ref().ok_or_else(stopped)?;
            queue.send(call).await.map_err(|_| stopped())?;
            answer.await.map_err(|_| stopped())?
        };
        match tokio::time::timeout(self.call_timeout, done).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::timeout(self.call_timeout)),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // It has told its panic to standard error already.
            let _ = thread.join();
        }
    }
}

fn stopped() -> StoreError {
    StoreError::unavailable(Cause::Interrupted, "the writer has stopped")
}

struct WriterThread {
    /// Closed before the lock on the file is given up.
    connection: Connection,
    queue: mpsc::Receiver<Box<dyn Call>>,
    epoch_base: u64,
    /// In the log after the last commit.
    log_pages: Arc<AtomicI32>,
    /// As of the last commit; `None` when that is to be read from the file.
    recent: Option<Recent>,
    recent_max: usize,
    /// Keys of documents that could not be filed. They are left as they are, which costs nobody
    /// else, until the next start.
    unfilable: HashSet<i64>,
    /// Whether deltas of deleted documents may be left to remove.
    sweeping: bool,
    file: DatabaseFile,
}

impl WriterThread {
    fn run(mut self) {
        loop {
            let first = if self.sweeping {
                match self.queue.try_recv() {
                    Ok(call) => Some(call),
                    Err(mpsc::error::TryRecvError::Empty) => None,
                    Err(mpsc::error::TryRecvError::Disconnected) => return,
                }
            } else {
                match self.queue.blocking_recv() {
                    Some(call) => Some(call),
                    None => return,
                }
            };
            let group = self.group(first);
            // The callers of a group that failed are told that the writer stopped, which is to be
            // tried again; nobody else has to be. Each call costs one panic at most.
            let done = catch_unwind(AssertUnwindSafe(|| {
                self.store(group);
                self.carry_over();
            }));
            if done.is_err() {
                self.start_over();
            }
        }
    }

    /// Leaves nothing of what a panic left half done.
    fn start_over(&mut self) {
        tracing::error!("a call of the file's writer failed");
        if !self.connection.is_autocommit() {
            // When this fails too, the next BEGIN does, and says so to its caller.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        self.recent = None;
    }

    /// What goes into one transaction.
    fn group(&mut self, first: Option<Box<dyn Call>>) -> Vec<Box<dyn Call>> {
        let mut group = Vec::new();
        let mut bytes = 0;
        let mut next = first;
        while let Some(call) = next {
            // Under overload this leaves the time to those that still wait.
            if !call.is_abandoned() {
                bytes += call.bytes();
                group.push(call);
            }
            if group.len() >= QUEUE_CALLS || bytes >= GROUP_BYTES_MAX {
                break;
            }
            next = self.queue.try_recv().ok();
        }
        group
    }

    fn store(&mut self, mut group: Vec<Box<dyn Call>>) {
        match self.commit(&mut group) {
            Ok(()) => return group.into_iter().for_each(|call| call.answer(Ok(()))),
            Err(error) if group.len() == 1 => {
                return group.into_iter().for_each(|call| call.answer(Err(error.clone())));
            }
            // Found again at the next delete or start; what hinders it now may last.
            Err(_) => self.sweeping = false,
        }
        // One bad call must not take others with it.
        let mut lasting = None;
        for mut call in group {
            let result = match &lasting {
                None => self.commit(std::slice::from_mut(&mut call)),
                Some(error) => Err(StoreError::clone(error)),
            };
            // Not the call's fault: the others would fail just so.
            if let Err(error) = &result
                && error.is_unavailable()
            {
                lasting = Some(error.clone());
            }
            call.answer(result);
        }
    }

    /// All of it or nothing.
    fn commit(&mut self, calls: &mut [Box<dyn Call>]) -> Result<(), StoreError> {
        loop {
            let unfilable = self.unfilable.len();
            let result = self.try_commit(calls);
            if result.is_err() && !self.connection.is_autocommit() {
                // When this fails too, the next BEGIN does, and says so to its caller.
                let _ = self.connection.execute_batch("ROLLBACK");
            }
            // The calls are not at fault, and will not meet that document again.
            if result.is_ok() || self.unfilable.len() == unfilable {
                return result;
            }
        }
    }

    fn try_commit(&mut self, calls: &mut [Box<dyn Call>]) -> Result<(), StoreError> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        // Kept only if all goes well.
        let mut recent = match self.recent.take() {
            Some(recent) => recent,
            None => Recent::read(&self.connection)?,
        };
        let mut group = Group::new(&self.connection, self.epoch_base, &mut recent)?;
        for call in calls {
            call.run(&mut group)?;
        }
        if let Err(Unfilable { key, error }) = group.file_some(self.recent_max, &self.unfilable) {
            if !error.is_unavailable() {
                tracing::warn!(key, error = %error, "filing the deltas of a document failed");
                self.unfilable.insert(key);
            }
            return Err(error);
        }
        self.sweeping = (self.sweeping || group.has_removed()) && group.sweep()?;
        drop(group);
        self.file.check_place()?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.recent = Some(recent);
        Ok(())
    }

    /// From the log to the database file, so that the log does not grow for ever.
    fn carry_over(&self) {
        if self.log_pages.load(Ordering::Relaxed) < LOG_PAGES_MAX {
            return;
        }
        let done = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = done {
            // Nothing is lost: the log keeps it, and the next commit brings the next attempt.
            tracing::warn!(error = %error, "carrying the log over to the database file failed");
        }
    }
}

#[cfg(test)]
mod tests;
