//! The one place that reads the wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use synckit_engine::ids::Millis;

/// Milliseconds since 1970; 0 for a clock set before that.
pub(crate) fn now_millis() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    millis(since)
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
