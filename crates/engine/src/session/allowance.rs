//! The rate limit of a connection.

use crate::time::Moment;
use crate::wire::{ErrorCode, ErrorReply};

/// How many more messages a connection may send now: full after a minute of silence.
#[derive(Debug)]
pub(super) struct Allowance {
    per_minute: u32,
    /// In parts of a message, of which a millisecond earns `per_minute`.
    left: u64,
    counted_at: Moment,
}

/// Milliseconds of a minute, and so parts of a message.
const MINUTE: u64 = 60_000;

impl Allowance {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute, left: u64::from(per_minute) * MINUTE, counted_at: Moment::default() }
    }

    pub(super) fn spend(&mut self, now: Moment) -> Result<(), ErrorReply> {
        if self.per_minute == 0 {
            return Ok(());
        }
        let per_minute = u64::from(self.per_minute);
        let earned = now.since(self.counted_at).saturating_mul(per_minute);
        self.left = self.left.saturating_add(earned).min(per_minute * MINUTE);
        self.counted_at = self.counted_at.max(now);
        match self.left.checked_sub(MINUTE) {
            Some(left) => self.left = left,
            None => return Err(ErrorReply::new(ErrorCode::RateLimitExceeded)),
        }
        Ok(())
    }
}
