//! The server under load: one that runs already, or a child of this process.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::{Error, PATIENCE, Servers};

/// Linux counts process times in hundredths of a second, whatever the kernel's own tick.
const TICK: Duration = Duration::from_millis(10);

/// What [`crate::text`] sends takes 310 bytes a character.
const FRAMES_OF_LONG_TEXTS: &str = "ws.max_frame_bytes=128MiB";

/// What the child prints when it listens.
const READY: &str = "listening on http://";

/// The server under load.
#[derive(Debug)]
pub(crate) struct Target {
    address: SocketAddr,
    pid: Option<u32>,
    /// Ends with this value.
    _child: Option<Child>,
    /// Names the documents of this run apart from those of earlier ones.
    run: String,
}

impl Target {
    /// A server that someone else started.
    pub(crate) fn running(url: &str, pid: Option<u32>) -> Result<Self, Error> {
        let rest = url.strip_prefix("ws://").or_else(|| url.strip_prefix("http://"));
        let host = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let address = host
            .replace("localhost", "127.0.0.1")
            .parse()
            .map_err(|_| Error::Server(format!("{url:?} is not like ws://127.0.0.1:8080")))?;
        Ok(Self { address, pid, _child: None, run: run_name() })
    }

    /// A server of its own, on a free port, with the environment of this process.
    pub(crate) async fn start(servers: &Servers) -> Result<Self, Error> {
        let failed = |reason: &dyn std::fmt::Display| Error::Server(reason.to_string());
        let mut child = Command::new(&servers.program)
            .args(&servers.arguments)
            .args(["--urls", "http://127.0.0.1:0", "--set", "auth.required=false"])
            .args(["--set", "ws.max_connections=0", "--set", "ws.max_connections_per_ip=0"])
            .args(["--set", FRAMES_OF_LONG_TEXTS])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(&error))?;
        let stdout = child.stdout.take().ok_or_else(|| failed(&"no output"))?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .map_err(|_| Error::Silent)??
            .ok_or_else(|| failed(&"it ended before it listened"))?;
        let address = line
            .strip_prefix(READY)
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| failed(&format!("it said {line:?}")))?;
        let pid = child.id();
        Ok(Self { address, pid, _child: Some(child), run: run_name() })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    /// The CPU time that the server has used.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid?)).ok()?;
        // The name in parentheses may hold anything; the numbers come behind it.
        let numbers: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: u32 = numbers.get(11..13)?.iter().filter_map(|n| n.parse::<u32>().ok()).sum();
        Some(TICK * ticks)
    }

    pub(crate) fn cpu_since(&self, before: Option<Duration>) -> Option<Duration> {
        Some(self.cpu()?.saturating_sub(before?))
    }

    /// The memory that the server holds.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kib * 1_024)
    }
}

/// Names what one run writes.
pub(crate) fn run_name() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
