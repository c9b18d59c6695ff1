//! Whether to come back after a connection has ended, and when. Randomness is given.

use std::time::Duration;

use crate::handshake::ConnectError;
use crate::websocket::Closed;

/// The first pause.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest pause of this client's own making.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The longest pause that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// A connection that lasted this long was a good one: pauses start again.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// Why there is no connection now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// There was none.
    #[error(transparent)]
    NotConnected(#[from] ConnectError),
    /// It ended.
    #[error(transparent)]
    Closed(#[from] Closed),
}

impl Ended {
    /// Whether the same client may connect again, with the same messages.
    #[must_use]
    pub fn may_come_back(&self) -> bool {
        match self {
            Self::Closed(Closed { code, .. }) => {
                !matches!(code, Some(1000 | 1002 | 1003 | 1007..=1010))
            }
            Self::NotConnected(ConnectError::TurnedAway(answer)) => {
                answer.status == 429 || answer.status >= 500
            }
            Self::NotConnected(ConnectError::Url(_)) => false,
            Self::NotConnected(_) => true,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotConnected(ConnectError::TurnedAway(answer)) => answer.retry_after,
            _ => None,
        }
    }
}

/// Pauses between connections, each half as long again as the one before.
#[derive(Debug)]
pub struct Pauses {
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: PAUSE_MIN }
    }
}

impl Pauses {
    /// How long to wait after a connection that lasted `lasted`, zero if there was none.
    ///
    /// Of a pause the second half is up to chance, so that clients that lost their server at once do
    /// not come back at once.
    pub fn after(&mut self, ended: &Ended, lasted: Duration, random: u32) -> Duration {
        if lasted >= GOOD_AFTER {
            *self = Self::default();
        }
        let pause = self.next;
        self.next = PAUSE_MAX.min(pause + pause / 2);
        let chance = f64::from(random) / f64::from(u32::MAX);
        let pause = pause.mul_f64(0.5 + chance / 2.0);
        ended.retry_after().map_or(pause, |asked| asked.min(RETRY_AFTER_MAX) + pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::TurnedAway;

    fn closed(code: Option<u16>) -> Ended {
        Ended::Closed(Closed { code, reason: String::new() })
    }

    fn turned_away(status: u16) -> Ended {
        let retry_after = Some(Duration::from_secs(5));
        let answer = TurnedAway { status, retry_after, reason: String::new() };
        Ended::NotConnected(ConnectError::TurnedAway(answer))
    }

    #[test]
    fn a_client_comes_back_unless_the_server_says_not_to() {
        for code in [None, Some(1001), Some(1006), Some(1011), Some(1012), Some(1013)] {
            assert!(closed(code).may_come_back(), "{code:?}");
        }
        for code in [1000, 1002, 1008, 1009] {
            assert!(!closed(Some(code)).may_come_back(), "{code}");
        }
        assert!(turned_away(503).may_come_back());
        assert!(turned_away(429).may_come_back());
        assert!(!turned_away(404).may_come_back());
    }

    #[test]
    fn pauses_grow_by_half_up_to_thirty_seconds() {
        let mut pauses = Pauses::default();
        let mut next = || pauses.after(&closed(None), Duration::ZERO, u32::MAX).as_millis();
        assert_eq!([next(), next(), next(), next()], [1_000, 1_500, 2_250, 3_375]);
        let later = std::iter::repeat_with(next).take(20).last();
        assert_eq!(later, Some(30_000));
    }

    #[test]
    fn a_good_connection_makes_pauses_short_again() {
        let mut pauses = Pauses::default();
        pauses.after(&closed(None), Duration::ZERO, 0);
        let soon = pauses.after(&closed(None), Duration::from_secs(9), 0);
        assert_eq!(soon, Duration::from_millis(750));
        let later = pauses.after(&closed(None), Duration::from_secs(10), 0);
        assert_eq!(later, Duration::from_millis(500));
    }

    #[test]
    fn what_the_server_asks_for_comes_on_top() {
        let mut pauses = Pauses::default();
        let pause = pauses.after(&turned_away(503), Duration::ZERO, u32::MAX);
        assert_eq!(pause, Duration::from_secs(6));
    }
}
