//! Tasks that live as long as the server. None of them ends by a panic unnoticed.
//!
//! One that panics is logged by the panic hook and run again, with the state it left, which it must
//! be able to go on from. One that goes on panicking is a mistake that running again does not mend:
//! then the whole server stops, and the process ends with a code that has it started anew.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Panics of one task within [`PANICS_WITHIN`] after which it is not run again.
const PANICS_MAX: usize = 5;

/// Long enough that a task which fails at every turn reaches [`PANICS_MAX`], however slow its turns.
const PANICS_WITHIN: Duration = Duration::from_secs(60);

/// Runs tasks again, within bounds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Supervisor {
    failed: CancellationToken,
}

impl Supervisor {
    /// Runs a task on `tasks` until it returns. After a panic `run` is called again with the same
    /// state.
    pub(crate) fn spawn<S: Send + 'static>(
        &self,
        tasks: &TaskTracker,
        name: &'static str,
        mut state: S,
        mut run: impl for<'s> FnMut(&'s mut S) -> BoxFuture<'s, ()> + Send + 'static,
    ) {
        let failed = self.failed.clone();
        tasks.spawn(async move {
            let mut panics = Panics::default();
            while panicked(async { run(&mut state).await }).await {
                if panics.are_too_many(Instant::now()) {
                    tracing::error!(task = name, "a task keeps failing; the server stops");
                    return failed.cancel();
                }
                tracing::error!(task = name, "a task failed and is run again");
            }
        });
    }

    /// Waits until a task has failed too often. Cancel-safe.
    pub(crate) async fn failed(&self) {
        self.failed.cancelled().await;
    }
}

/// Runs to the end; whether that was a panic. What it worked on may be half done then.
pub(crate) async fn panicked(task: impl Future<Output = ()>) -> bool {
    AssertUnwindSafe(task).catch_unwind().await.is_err()
}

/// The panics of one task that count.
#[derive(Debug, Default)]
struct Panics(VecDeque<Instant>);

impl Panics {
    /// Notes another one.
    fn are_too_many(&mut self, now: Instant) -> bool {
        self.0.push_back(now);
        self.0.retain(|at| now.saturating_duration_since(*at) < PANICS_WITHIN);
        self.0.len() >= PANICS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a task runs that panics the first so many times.
    async fn runs(supervisor: &Supervisor, panics: usize) -> usize {
        let tasks = TaskTracker::new();
        let (state, runs) = tokio::sync::watch::channel(0);
        supervisor.spawn(&tasks, "test", state, move |runs| {
            Box::pin(async move {
                runs.send_modify(|runs| *runs += 1);
                tokio::task::yield_now().await;
                assert!(*runs.borrow() > panics, "on purpose");
            })
        });
        tasks.close();
        tasks.wait().await;
        *runs.borrow()
    }

    #[tokio::test]
    async fn a_task_that_panics_is_run_again_with_its_state() {
        let supervisor = Supervisor::default();
        assert_eq!(runs(&supervisor, PANICS_MAX - 1).await, PANICS_MAX);
        assert!(!supervisor.failed.is_cancelled());
    }

    #[tokio::test]
    async fn one_that_goes_on_panicking_fails_the_server() {
        let supervisor = Supervisor::default();
        assert_eq!(runs(&supervisor, usize::MAX).await, PANICS_MAX);
        supervisor.failed().await;
    }

    #[test]
    fn panics_that_are_long_ago_do_not_count() {
        let start = Instant::now();
        let mut panics = Panics::default();
        let pause = PANICS_WITHIN / u32::try_from(PANICS_MAX - 1).unwrap();
        assert!((0..100).all(|number| !panics.are_too_many(start + pause * number)));
        let soon = start + pause * 99 + Duration::from_secs(1);
        assert!(panics.are_too_many(soon));
    }
}
