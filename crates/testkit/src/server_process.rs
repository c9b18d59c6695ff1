//! The server under test as what it is in production: a process.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::watch;

use crate::child::{Child, Pipes};

/// A first start creates the schema, on a machine that compiles and runs other tests at the same time.
const READY_DEADLINE: Duration = Duration::from_secs(30);

/// Above the sum of the server's own shutdown deadlines: a test should see the server give up first.
const TERMINATE_DEADLINE: Duration = Duration::from_secs(60);

/// A command that is expected to end by itself does so at once, or it hangs.
const FINISH_DEADLINE: Duration = Duration::from_secs(30);

/// A killed process ends as soon as the kernel gets to it.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// Enough to see what a server did before a failure; a server in a loop must not eat the memory.
const CAPTURED_BYTES_MAX: usize = 1024 * 1024;

const READY_PREFIX: &str = "listening on http://";

/// How to start a server: its arguments and its whole environment except for `PATH`.
#[derive(Clone)]
pub struct ServerCommand {
    binary: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl ServerCommand {
    /// `binary` is usually `env!("CARGO_BIN_EXE_synckit-server")`.
    pub fn new(binary: impl AsRef<Path>) -> Self {
        Self { binary: binary.as_ref().to_owned(), arguments: Vec::new(), environment: Vec::new() }
    }

    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts the server and waits for its ready line. Adds `--urls http://127.0.0.1:0` unless the
    /// arguments have `--urls` or `--port`.
    ///
    /// # Panics
    /// When the server does not get ready; the text has what it wrote.
    pub async fn start(&self) -> ServerProcess {
        let mut command = self.command();
        if !self.arguments.iter().any(|argument| is_address_flag(argument)) {
            command.args(["--urls", "http://127.0.0.1:0"]);
        }
        let process = Process::spawn(&mut command, &self.binary);
        let mut ready = process.ready.clone();
        let line = async { ready.wait_for(|line| line.is_some()).await.map(|line| line.clone()) };
        match tokio::time::timeout(READY_DEADLINE, line).await {
            Ok(Ok(address)) => {
                ServerProcess { process, address: address.expect("waited for an address") }
            }
            Ok(Err(_)) => panic!("the server ended before it was ready; {}", process.output_text()),
            Err(_) => panic!("not ready after {READY_DEADLINE:?}; {}", process.output_text()),
        }
    }

    /// Runs the command to its end, for commands that are expected to end by themselves.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn finish(&self) -> Finished {
        let mut process = Process::spawn(&mut self.command(), &self.binary);
        let Some(status) = process.child.exited(FINISH_DEADLINE).await else {
            panic!("the command did not end; {}", process.output_text());
        };
        process.wait_for_output();
        Finished { status, stdout: process.stdout.text(), stderr: process.stderr.text() }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(&self.arguments).env_clear();
        // No load balancer has to find out; a test of that says otherwise.
        command.env("SHUTDOWN__DELAY_MS", "0");
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// What a command that ended by itself left behind.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// A server that accepts connections. Killed with the value; what it wrote is shown when the test fails.
pub struct ServerProcess {
    process: Process,
    /// `host:port`
    address: String,
}

impl ServerProcess {
    /// `http://host:port`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `ws://host:port/ws`
    pub fn ws_url(&self) -> String {
        format!("ws://{}/ws", self.address)
    }

    /// `host:port`
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn pid(&self) -> u32 {
        self.process.child.pid().as_raw_nonzero().get().unsigned_abs()
    }

    pub fn stdout(&self) -> String {
        self.process.stdout.text()
    }

    pub fn stderr(&self) -> String {
        self.process.stderr.text()
    }

    /// Ends the server without a chance to clean up and waits until it is gone.
    ///
    /// # Panics
    /// When the kernel does not end it.
    pub async fn kill9(mut self) {
        self.process.child.signal(Signal::KILL);
        let status = self.process.child.exited(KILL_DEADLINE).await;
        assert!(status.is_some(), "the server is still there {KILL_DEADLINE:?} after SIGKILL");
        self.process.wait_for_output();
    }

    /// Stops the server where it is; it keeps its connections and does nothing until it is resumed.
    pub fn pause(&self) {
        self.process.child.signal(Signal::STOP);
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        self.process.child.signal(Signal::CONT);
    }

    /// SIGTERM, and the status the server ended with.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn terminate(self) -> ExitStatus {
        self.signal_terminate();
        self.exited().await
    }

    /// SIGTERM without waiting, for tests that look at a server on its way down.
    pub fn signal_terminate(&self) {
        self.process.child.signal(Signal::TERM);
    }

    /// Waits for the server to end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn exited(self) -> ExitStatus {
        let status = self.process.child.exited(TERMINATE_DEADLINE).await;
        status.unwrap_or_else(|| {
            panic!("no end after {TERMINATE_DEADLINE:?}; {}", self.process.output_text())
        })
    }

    /// What all threads of the server have used so far, those that have ended included.
    ///
    /// # Panics
    /// When the server has ended.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))
            .expect("the server runs, so it has a stat file");
        // The command name may contain spaces; after it come the state and then numbers.
        let (_, fields) = stat.rsplit_once(") ").expect("a stat line has a command in brackets");
        // utime and stime, the 14th and the 15th field of the line.
        let ticks: u64 = fields
            .split(' ')
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().expect("times are numbers"))
            .sum();
        Duration::from_nanos(1_000_000_000 / rustix::param::clock_ticks_per_second() * ticks)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            show(&self.process.output_text());
        }
    }
}

#[expect(clippy::print_stderr, reason = "the test harness shows it with the failed test")]
fn show(text: &str) {
    eprintln!("{text}");
}

/// A running command and the threads that read its output.
struct Process {
    child: Child,
    stdout: Captured,
    stderr: Captured,
    readers: Vec<JoinHandle<()>>,
    /// `host:port` once the ready line was read; closed when the output ends without it.
    ready: watch::Receiver<Option<String>>,
}

impl Process {
    fn spawn(command: &mut Command, binary: &Path) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (child, Pipes { stdout, stderr, .. }) = Child::spawn(command)
            .unwrap_or_else(|error| panic!("start {}: {error}", binary.display()));
        let (announce, ready) = watch::channel(None);
        let mut process = Self {
            child,
            stdout: Captured::default(),
            stderr: Captured::default(),
            readers: Vec::new(),
            ready,
        };
        process.read(stdout.expect("stdout is piped"), process.stdout.clone(), move |line| {
            if let Some(address) = line.trim_end().strip_prefix(READY_PREFIX) {
                announce.send_replace(Some(address.to_owned()));
            }
        });
        process.read(stderr.expect("stderr is piped"), process.stderr.clone(), |_| ());
        process
    }

    fn read(
        &mut self,
        pipe: impl Read + Send + 'static,
        captured: Captured,
        mut on_line: impl FnMut(&str) + Send + 'static,
    ) {
        self.readers.push(std::thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            // A read error ends the capture like the end of the output: both mean that nothing follows.
            while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&line);
                captured.push(&text);
                on_line(&text);
                line.clear();
            }
        }));
    }

    /// Makes sure that everything an ended process wrote has been captured.
    fn wait_for_output(&mut self) {
        for reader in self.readers.drain(..) {
            reader.join().expect("the readers do not panic");
        }
    }

    fn output_text(&self) -> String {
        let Self { stdout, stderr, child, .. } = self;
        let pid = child.pid().as_raw_nonzero();
        format!(
            "server {pid}, stdout:\n{}\nserver {pid}, stderr:\n{}",
            stdout.text(),
            stderr.text()
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.signal(Signal::KILL);
        self.child.wait_blocking();
    }
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<String>>);

impl Captured {
    fn push(&self, text: &str) {
        let mut captured = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The start says how the server was set up, so it is the start that is kept.
        if captured.len() + text.len() <= CAPTURED_BYTES_MAX {
            captured.push_str(text);
        }
    }

    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn is_address_flag(argument: &OsStr) -> bool {
    argument.to_str().is_some_and(|text| {
        let name = text.split('=').next();
        name == Some("--urls") || name == Some("--port")
    })
}
