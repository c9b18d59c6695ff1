//! The one place that reads the wall clock, and the clock that never steps beside it.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use synckit_engine::ids::Millis;
use synckit_engine::time::{Moment, Now};
use tokio::time::Instant;

/// Where moments are counted from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Both clocks.
pub(crate) fn now() -> Now {
    Now { wall: now_millis(), moment: moment() }
}

/// Now, for lengths of time.
pub(crate) fn moment() -> Moment {
    Moment(millis(START.elapsed()))
}

/// When a moment is or was.
pub(crate) fn instant(moment: Moment) -> Instant {
    *START + Duration::from_millis(moment.0)
}

/// Milliseconds since 1970; 0 for a clock set before that.
pub(crate) fn now_millis() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    millis(since)
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
