//! A back-end program (PostgreSQL, Redis) that cannot outlive the tests it was started for.
//!
//! It runs under a small shell that holds the read end of a pipe. However this process ends, even by
//! SIGKILL, the pipe closes, and the shell stops the program and removes its directory. The parent-death
//! signal of Linux would not do: it is bound to the thread that started the program, and every test has
//! its own thread.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::Error;
use crate::child::Child;

/// A fast shutdown of PostgreSQL writes a checkpoint; on a busy disk that is seconds, not a minute.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// Enough of the log to hold the reason of a failed start.
const LOG_TAIL_LINES: usize = 20;

const LOG_NAME: &str = "log";

/// A line on standard input means "the owner stopped it and keeps the directory", the end of standard
/// input means "the owner is gone".
const SUPERVISOR: &str = r#"
directory=$1
signal=$2
shift 2
"$@" </dev/null >>"$directory/log" 2>&1 &
program=$!
echo "$program"
exec >/dev/null
if read -r _; then
    wait "$program"
else
    kill -"$signal" "$program"
    wait "$program"
    rm -rf -- "$directory"
fi
"#;

pub(crate) struct Service {
    supervisor: Child,
    supervisor_input: ChildStdin,
    pid: Pid,
    directory: PathBuf,
}

impl Service {
    /// Starts `command`; its output goes to `directory`, which belongs to this service from now on.
    ///
    /// `orphan_signal` ends the program at once when this process is gone. A shell lets its background
    /// programs ignore INT and QUIT, so those serve only for programs that handle them.
    pub(crate) fn spawn<Argument: AsRef<OsStr>>(
        directory: &Path,
        orphan_signal: &str,
        command: &[Argument],
    ) -> Result<Self, Error> {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", SUPERVISOR, "supervisor"])
            .arg(directory)
            .arg(orphan_signal)
            .args(command);
        // An interrupt from the keyboard reaches a whole process group; the shell has to survive it to
        // clean up. A test runner also waits for every process that still holds the output of a test.
        shell.process_group(0).stderr(Stdio::null());
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).current_dir("/");
        let (supervisor, pipes) =
            Child::spawn(&mut shell).map_err(Error::while_doing("start a shell"))?;
        let mut first_line = String::new();
        BufReader::new(pipes.stdout.expect("stdout is piped"))
            .read_line(&mut first_line)
            .map_err(Error::while_doing("read the process id from the shell"))?;
        let pid =
            first_line.trim().parse().ok().and_then(Pid::from_raw).ok_or_else(|| {
                Error::new("the shell did not report the process id of its program")
            })?;
        Ok(Self {
            supervisor,
            supervisor_input: pipes.stdin.expect("stdin is piped"),
            pid,
            directory: directory.to_owned(),
        })
    }

    /// False once the program has ended by itself, which it must not do.
    pub(crate) fn is_running(&self) -> bool {
        // Nobody reaps it before the shell is told to, so an ended program is a zombie until then.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_nonzero()));
        stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with('Z')))
    }

    pub(crate) fn log_tail(&self) -> String {
        // A log with a broken character must not hide the reason of a failure.
        let log = std::fs::read(self.directory.join(LOG_NAME)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// Sends a signal that does not end the program.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("the program runs");
    }

    /// Sends a signal to the processes that the program has started and that run by now.
    pub(crate) fn signal_children(&self, signal: Signal) {
        for child in self.children() {
            // One that has ended meanwhile has nothing to be told.
            let _ = kill_process(child, signal);
        }
    }

    /// The processes that the program has started and that have not ended.
    pub(crate) fn children(&self) -> Vec<Pid> {
        let entries = std::fs::read_dir("/proc").expect("/proc lists processes");
        let pid_of_child = |entry: std::fs::DirEntry| {
            let pid = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
            // A process that ends meanwhile has no file any more.
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The command name may contain spaces; after it come the state and the parent.
            let (_, fields) = stat.rsplit_once(") ")?;
            let parent = fields.split(' ').nth(1)?.parse().ok().and_then(Pid::from_raw)?;
            (parent == self.pid).then_some(pid)
        };
        entries.flatten().filter_map(pid_of_child).collect()
    }

    /// Sends `signal` and waits for the end; the directory stays.
    pub(crate) async fn stop(mut self, signal: Signal) {
        self.tell_to_stop(signal);
        if self.supervisor.exited(STOP_DEADLINE).await.is_none() {
            let _ = kill_process(self.pid, Signal::KILL);
            panic!("no end {STOP_DEADLINE:?} after {signal:?}; its log:\n{}", self.log_tail());
        }
    }

    /// As `stop`, without a runtime and without a deadline: the callers' signals are ones their program
    /// does not put off.
    pub(crate) fn stop_blocking(mut self, signal: Signal) {
        self.tell_to_stop(signal);
        self.supervisor.wait_blocking();
    }

    fn tell_to_stop(&mut self, signal: Signal) {
        // Both can fail only when the program or the shell was killed from outside. Then there is
        // nothing left to stop.
        let _ = kill_process(self.pid, signal);
        let _ = self.supervisor_input.write_all(b"stopped\n");
    }
}
