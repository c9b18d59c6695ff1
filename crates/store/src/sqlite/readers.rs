//! The connections that read. They see what was committed before a call began, and never wait for
//! the writer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::error::{Cause, StoreError};

use super::file::DatabaseFile;

/// Reads at a time: they keep processors busy rather than a disk, and one long read must not be
/// in the way of all others. Further callers wait within their deadlines.
const CONNECTIONS: usize = 4;

#[derive(Debug)]
pub(super) struct Readers {
    pool: Arc<Pool>,
    permits: Arc<Semaphore>,
    call_timeout: Duration,
}

#[derive(Debug)]
struct Pool {
    idle: Mutex<Vec<Connection>>,
    /// Dropped last: a read whose caller has gone may still use a connection.
    file: DatabaseFile,
}

/// When a read has to end. Looked at between rows, as the thread it runs on can't be stopped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    end: Instant,
    allowed: Duration,
}

impl Deadline {
    pub(super) fn check(self) -> Result<(), StoreError> {
        if Instant::now() < self.end { Ok(()) } else { Err(StoreError::timeout(self.allowed)) }
    }
}

impl Readers {
    pub(super) fn open(file: DatabaseFile, call_timeout: Duration) -> Result<Self, StoreError> {
        let connections = (0..CONNECTIONS).map(|_| file.open_reader());
        let idle = Mutex::new(connections.collect::<Result<_, _>>()?);
        let pool = Arc::new(Pool { idle, file });
        Ok(Self { pool, permits: Arc::new(Semaphore::new(CONNECTIONS)), call_timeout })
    }

    /// Runs `read` in a transaction, so that all it sees is of one moment.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection, Deadline) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let allowed = self.call_timeout;
        let deadline = Deadline { end: Instant::now() + allowed, allowed };
        let stopped = || StoreError::unavailable(Cause::Interrupted, "reading has stopped");
        let done = async {
            let permits = Arc::clone(&self.permits);
            let permit = permits.acquire_owned().await.map_err(|_| stopped())?;
            let pool = Arc::clone(&self.pool);
            let read = tokio::task::spawn_blocking(move || {
                // Returned after the connection, also when the caller has gone meanwhile.
                let _permit = permit;
                pool.run(|connection| read(connection, deadline))
            });
            read.await.map_err(|_| stopped())?
        };
        match tokio::time::timeout(allowed, done).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::timeout(allowed)),
        }
    }
}

impl Pool {
    fn run<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            // The one that is missing was lost to a panic.
            None => self.file.open_reader()?,
        };
        let result = {
            let transaction = connection.unchecked_transaction()?;
            let result = read(&connection);
            // Nothing was written; this only lets go of the moment.
            transaction.rollback()?;
            result
        };
        self.idle.lock().push(connection);
        result
    }
}
