//! Redis Sentinel for tests: a primary, a replica, and three sentinels that watch them.

use std::fmt::Write as _;
use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;

use super::cluster::ask;
use super::{PORT_ATTEMPTS, Redis, START_DEADLINE, START_POLL, answers, find_program};
use crate::service::Service;
use crate::{Error, free_port};

const SENTINELS: usize = 3;

/// What the group is called.
const SERVICE: &str = "tests";

/// Short, so that a test need not wait; long enough for a server on a busy machine to answer.
const DOWN_AFTER_MS: u32 = 500;

/// How long sentinels leave a failover to the one that began it.
const FAILOVER_TIMEOUT_MS: u32 = 3_000;

/// Three sentinels, of which two decide.
pub struct RedisSentinels {
    /// The primary in the beginning.
    pub primary: Redis,
    /// The one that takes over.
    pub replica: Redis,
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    address: String,
    service: Option<Service>,
    _directory: TempDir,
}

impl RedisSentinels {
    /// # Panics
    /// When they are not installed or do not come to watch the servers; the text says which.
    pub async fn start() -> Self {
        Self::try_start().await.unwrap_or_else(|error| panic!("no Redis Sentinel: {error}"))
    }

    async fn try_start() -> Result<Self, Error> {
        let primary = Redis::try_start_private(&[]).await?;
        let (host, port) = primary.address().split_once(':').expect("an address has a port");
        let follow = ["--replicaof".into(), host.into(), port.into()];
        let replica = Redis::try_start_private(&follow).await?;
        let mut sentinels = Vec::new();
        for _ in 0..SENTINELS {
            sentinels.push(Sentinel::start(primary.address()).await?);
        }
        let group = Self { primary, replica, sentinels };
        group
            .until_all("they watch the servers", &format!("SENTINEL CKQUORUM {SERVICE}"), |it| {
                it.contains(&format!("{SENTINELS} usable Sentinels"))
            })
            .await?;
        let state = "master-link-status\r\n$2\r\nok";
        group
            .until_all("they know the replica", &format!("SENTINEL REPLICAS {SERVICE}"), |it| {
                it.contains(state)
            })
            .await?;
        Ok(group)
    }

    /// In the form of StackExchange.Redis.
    pub fn connection_string(&self) -> String {
        let mut text = String::new();
        for sentinel in &self.sentinels {
            // Writing into a String cannot fail.
            let _ = write!(text, "{},", sentinel.address);
        }
        text + "serviceName=" + SERVICE
    }

    /// The last one; the others can still decide.
    ///
    /// # Panics
    /// When it has been killed before.
    pub async fn kill_one_sentinel(&mut self) {
        let last = self.sentinels.last_mut().expect("there are three");
        last.service.take().expect("the sentinel runs").stop(Signal::KILL).await;
    }

    /// Waits until the first primary follows the one that took over.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn until_replica_of_the_other(&self) {
        let became = async {
            let mut poll = tokio::time::interval(START_POLL);
            loop {
                poll.tick().await;
                let role = ask(self.primary.address(), "ROLE").await;
                if role.is_ok_and(|role| role.contains("slave")) {
                    return;
                }
            }
        };
        let came = tokio::time::timeout(START_DEADLINE, became).await;
        assert!(came.is_ok(), "no replica after {START_DEADLINE:?}");
    }

    async fn until_all(
        &self,
        what: &str,
        command: &str,
        is_met: impl Fn(&str) -> bool,
    ) -> Result<(), Error> {
        let mut poll = tokio::time::interval(START_POLL);
        let met = async {
            for sentinel in &self.sentinels {
                while !ask(&sentinel.address, command).await.is_ok_and(|reply| is_met(&reply)) {
                    poll.tick().await;
                }
            }
        };
        tokio::time::timeout(START_DEADLINE, met)
            .await
            .map_err(|_| Error::new(format!("not within {START_DEADLINE:?}: {what}")))
    }
}

impl Sentinel {
    async fn start(primary: &str) -> Result<Self, Error> {
        let program = find_program("redis-sentinel").ok_or_else(|| {
            Error::new("redis-sentinel is not installed; on Debian: apt-get install redis-sentinel")
        })?;
        let mut attempt = 1;
        loop {
            match Self::start_once(&program, primary).await {
                Err(error) if attempt < PORT_ATTEMPTS && error.mentions("already in use") => {
                    attempt += 1;
                }
                started => return started,
            }
        }
    }

    async fn start_once(program: &Path, primary: &str) -> Result<Self, Error> {
        let directory = tempfile::Builder::new()
            .prefix("synckit-sentinel-")
            .tempdir()
            .map_err(Error::while_doing("make a directory for a sentinel"))?;
        let port = free_port();
        let file = directory.path().join("sentinel.conf");
        let primary = primary.replace(':', " ");
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\n\
             sentinel monitor {SERVICE} {primary} 2\n\
             sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n\
             sentinel failover-timeout {SERVICE} {FAILOVER_TIMEOUT_MS}\n",
            directory.path().display()
        );
        // It writes into the file what it finds out.
        std::fs::write(&file, text).map_err(Error::while_doing("write sentinel.conf"))?;
        let service =
            Service::spawn(directory.path(), "KILL", &[program.as_os_str(), file.as_os_str()])?;
        let address = format!("127.0.0.1:{port}");
        let ready = async {
            let mut poll = tokio::time::interval(START_POLL);
            loop {
                poll.tick().await;
                let answered = answers(&address).await;
                if !service.is_running() {
                    return false;
                }
                if answered {
                    return true;
                }
            }
        };
        if tokio::time::timeout(START_DEADLINE, ready).await != Ok(true) {
            let log = service.log_tail();
            service.stop(Signal::KILL).await;
            return Err(Error::new(format!("a sentinel did not get ready; its log:\n{log}")));
        }
        Ok(Self { address, service: Some(service), _directory: directory })
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        if let Some(service) = self.service.take() {
            service.stop_blocking(Signal::KILL);
        }
    }
}
