//! Pauses between tries.

use std::time::Duration;

/// A first pause between two tries; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// Long enough to leave a struggling database alone, short enough to be back with it.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Pauses that grow from try to try.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(PAUSE_MIN)
    }

    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSE_MAX);
    }
}
