//! Whether the server is still there. Time is given.

use std::time::{Duration, Instant};

/// How often the client asks.
const PING_EVERY: Duration = Duration::from_secs(30);

/// How long it waits for the answer, which comes behind all that the server has queued for it.
const PONG_PATIENCE: Duration = Duration::from_secs(10);

/// When to ask, or when to give up.
#[derive(Debug)]
pub(super) struct Heartbeat {
    ping_at: Instant,
    /// There is a ping without an answer.
    pong_by: Option<Instant>,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beat {
    None,
    Ping,
    /// The server is not there any more.
    GiveUp,
}

impl Heartbeat {
    pub(super) fn new(now: Instant) -> Self {
        Self { ping_at: now + PING_EVERY, pong_by: None }
    }

    /// When [`Self::beat`] has something to do.
    pub(super) fn next(&self) -> Instant {
        self.pong_by.unwrap_or(self.ping_at)
    }

    pub(super) fn beat(&mut self, now: Instant) -> Beat {
        match self.pong_by {
            Some(pong_by) if now >= pong_by => Beat::GiveUp,
            None if now >= self.ping_at => {
                self.pong_by = Some(now + PONG_PATIENCE);
                Beat::Ping
            }
            _ => Beat::None,
        }
    }

    pub(super) fn pong(&mut self, now: Instant) {
        *self = Self::new(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_goes_out_every_30_s_while_it_is_answered() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start);
        assert_eq!(heartbeat.beat(start + Duration::from_secs(29)), Beat::None);
        for _ in 0..3 {
            let now = heartbeat.next();
            assert_eq!(heartbeat.beat(now), Beat::Ping);
            assert_eq!(heartbeat.beat(now), Beat::None);
            heartbeat.pong(now);
            assert_eq!(heartbeat.next() - now, Duration::from_secs(30));
        }
    }

    #[test]
    fn a_server_that_does_not_answer_within_10_s_is_given_up() {
        let mut heartbeat = Heartbeat::new(Instant::now());
        let now = heartbeat.next();
        heartbeat.beat(now);
        assert_eq!(heartbeat.beat(now + Duration::from_secs(9)), Beat::None);
        assert_eq!(heartbeat.next(), now + Duration::from_secs(10));
        assert_eq!(heartbeat.beat(heartbeat.next()), Beat::GiveUp);
    }
}
