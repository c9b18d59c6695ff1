//! Pauses between tries.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A first pause between two tries; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// Long enough to leave a struggling database alone, short enough to be back with it.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Parts of a hundred by which a pause is shortened at most, so that those who failed together
/// don't try together.
const JITTER_PERCENT: u32 = 30;

/// Pauses that grow from try to try.
#[derive(Debug)]
pub(super) struct Backoff {
    pause: Duration,
    most: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self::up_to(PAUSE_MAX)
    }

    pub(super) fn up_to(most: Duration) -> Self {
        Self { pause: PAUSE_MIN, most }
    }

    pub(super) async fn pause(&mut self) {
        let percent = RandomState::new().hash_one(0) % u64::from(JITTER_PERCENT);
        let shorter = self.pause * u32::try_from(percent).unwrap_or_default() / 100;
        let pause = self.pause - shorter;
        self.pause = (self.pause * 2).min(self.most);
        tokio::time::sleep(pause).await;
    }
}
