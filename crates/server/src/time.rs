//! The one place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use synckit_engine::ids::Millis;

/// Milliseconds since 1970; 0 for a clock set before that.
pub(crate) fn now_millis() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
