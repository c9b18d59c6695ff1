//! A child process that is waited for by a thread of its own.
//!
//! The thread, and not a runtime, reaps it: a `#[tokio::test]` has its own runtime, so a child shared by
//! several tests must not belong to any of them, and `Drop` must be able to wait without one.

use std::io;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

pub(crate) struct Child {
    pid: Pid,
    exit_status: watch::Receiver<Option<ExitStatus>>,
    waiter: Option<JoinHandle<()>>,
}

/// The ends of the pipes the command asked for.
pub(crate) struct Pipes {
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) stderr: Option<ChildStderr>,
}

impl Child {
    pub(crate) fn spawn(command: &mut Command) -> io::Result<(Self, Pipes)> {
        let mut process = command.spawn()?;
        let pid = Pid::from_child(&process);
        let pipes = Pipes {
            stdin: process.stdin.take(),
            stdout: process.stdout.take(),
            stderr: process.stderr.take(),
        };
        let (sender, exit_status) = watch::channel(None);
        let waiter = std::thread::spawn(move || {
            let status = process.wait().expect("waiting for a child of this process works");
            sender.send_replace(Some(status));
        });
        Ok((Self { pid, exit_status, waiter: Some(waiter) }, pipes))
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Does nothing once the child has ended: by then the number may name another process.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.exit_status.borrow().is_none() {
            // The only possible failure is that it ended this instant, which is what `exited` reports.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Waits until the child has ended; `None` when it still runs after `deadline`.
    pub(crate) async fn exited(&self, deadline: Duration) -> Option<ExitStatus> {
        let mut exit_status = self.exit_status.clone();
        let status = tokio::time::timeout(deadline, exit_status.wait_for(Option::is_some)).await;
        *status.ok()?.expect("the waiter reports before it ends")
    }

    /// Waits without a runtime. The caller has made sure that the child is going to end.
    pub(crate) fn wait_blocking(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            waiter.join().expect("the waiter does not panic");
        }
    }
}
