//! Cancels what nobody waits for any more.
//!
//! A process of the server that waits, for a lock or for a standby, does not notice that its
//! connection was closed: it would stay, with its locks, for as long as it waits. So it is asked to
//! stop before the connection is closed. That it waited for a standby means that its transaction is
//! committed, and so it stays; whoever repeats the append waits for the standby again.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Requests under way at once; each is a connection besides those of the pools. Beyond it the
/// connection is only closed.
const CANCELS_AT_ONCE: usize = 4;

/// A server that takes longer to take a request does not take any.
const CANCEL_WITHIN: Duration = Duration::from_secs(1);

/// Between two lines of the log about this: it comes in masses.
const TOLD_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub(super) struct Canceller {
    shared: Arc<Shared>,
}

struct Shared {
    tls: MakeRustlsConnect,
    places: Arc<Semaphore>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    cancelled: u64,
    closed_only: u64,
    told_at: Option<Instant>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Canceller").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Canceller {
    pub(super) fn new(tls: MakeRustlsConnect) -> Self {
        let places = Arc::new(Semaphore::new(CANCELS_AT_ONCE));
        Self { shared: Arc::new(Shared { tls, places, counts: Mutex::default() }) }
    }

    /// Cancels what is under way on the connection, then closes it; the caller does not wait.
    pub(super) fn cancel(&self, client: ClientWrapper) {
        let shared = Arc::clone(&self.shared);
        let (Ok(runtime), Ok(place)) =
            (Handle::try_current(), Arc::clone(&shared.places).try_acquire_owned())
        else {
            return shared.count(false);
        };
        let cancel = async move {
            let request = client.cancel_token();
            let sent = request.cancel_query(shared.tls.clone());
            let was_sent = matches!(tokio::time::timeout(CANCEL_WITHIN, sent).await, Ok(Ok(())));
            // Not before: a pooler forgets what belongs to a connection that is closed.
            drop(client);
            shared.count(was_sent);
            drop(place);
        };
        // It ends within CANCEL_WITHIN.
        runtime.spawn(cancel);
    }
}

impl Shared {
    fn count(&self, was_cancelled: bool) {
        let mut counts = self.counts.lock();
        if was_cancelled {
            counts.cancelled += 1;
        } else {
            counts.closed_only += 1;
        }
        if counts.told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            counts.told_at = Some(Instant::now());
            tracing::info!(
                cancelled = counts.cancelled,
                closed_only = counts.closed_only,
                "calls that nobody waits for any more were cancelled; counted from the start"
            );
        }
    }
}
