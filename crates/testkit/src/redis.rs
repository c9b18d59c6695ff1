//! A Redis server for tests.

mod cluster;
mod sentinels;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::service::Service;
use crate::{Error, free_port};

pub use cluster::RedisCluster;
pub use sentinels::RedisSentinels;

/// Names a Redis server that already runs: `redis://host:port` or `host:port`.
pub const REDIS_VARIABLE: &str = "SYNCKIT_TEST_REDIS";

/// Where the compose file of the repository puts its test service.
const COMPOSE_ADDRESS: &str = "127.0.0.1:6379";

/// A service on this machine answers in a millisecond; an absent one must not slow every test process.
const PROBE_DEADLINE: Duration = Duration::from_secs(1);

/// An empty Redis starts in milliseconds; this leaves room for a machine busy with other tests.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// How often a starting server is asked; it has no line to wait for that a log file would announce.
const START_POLL: Duration = Duration::from_millis(20);

/// Another process can take a free port before Redis does, but not again and again.
const PORT_ATTEMPTS: usize = 3;

pub struct Redis {
    address: String,
    private: Option<Private>,
}

struct Private {
    service: Option<Service>,
    directory: TempDir,
    port: u16,
    settings: Vec<OsString>,
}

impl Redis {
    /// The server named by the environment, else the compose test service, else a private one.
    ///
    /// # Panics
    /// When there is none and none can be started; the text says what is missing.
    pub async fn start() -> Self {
        Self::try_start().await.unwrap_or_else(|error| panic!("no Redis for the tests: {error}"))
    }

    pub async fn try_start() -> Result<Self, Error> {
        if let Some(address) = std::env::var(REDIS_VARIABLE).ok().filter(|value| !value.is_empty())
        {
            let address = address.trim_start_matches("redis://").trim_end_matches('/').to_owned();
            if !answers(&address).await {
                return Err(Error::new(format!(
                    "{REDIS_VARIABLE} names {address}: no answer there"
                )));
            }
            return Ok(Self { address, private: None });
        }
        if answers(COMPOSE_ADDRESS).await {
            return Ok(Self { address: COMPOSE_ADDRESS.to_owned(), private: None });
        }
        Self::try_start_private(&[]).await
    }

    /// A server of the caller's own, which may be killed.
    ///
    /// # Panics
    /// As `start`.
    pub async fn start_private() -> Self {
        Self::start_private_with(&[] as &[&str]).await
    }

    /// A server of the caller's own with settings in the form of Redis: `--name`, `value`.
    ///
    /// # Panics
    /// As `start`.
    pub async fn start_private_with<Setting: AsRef<OsStr>>(settings: &[Setting]) -> Self {
        let settings: Vec<_> = settings.iter().map(|it| it.as_ref().to_owned()).collect();
        Self::try_start_private(&settings)
            .await
            .unwrap_or_else(|error| panic!("no Redis for the tests: {error}"))
    }

    async fn try_start_private(settings: &[OsString]) -> Result<Self, Error> {
        let directory = tempfile::Builder::new()
            .prefix("synckit-redis-")
            .tempdir()
            .map_err(Error::while_doing("make a directory for Redis"))?;
        let mut attempt = 1;
        loop {
            let port = free_port();
            match run(directory.path(), port, settings).await {
                Ok(service) => {
                    let (service, settings) = (Some(service), settings.to_owned());
                    let private = Private { service, directory, port, settings };
                    return Ok(Self {
                        address: format!("127.0.0.1:{port}"),
                        private: Some(private),
                    });
                }
                Err(error) if attempt < PORT_ATTEMPTS && error.mentions("already in use") => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One server for all tests of this process.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Redis> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// `redis://host:port`
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// `host:port`, the form the server's configuration takes.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// # Panics
    /// When the server is not a private one: the caller must not take away what others use.
    pub async fn kill9(&mut self) {
        let service = self.private_mut().service.take().expect("Redis runs");
        service.stop(Signal::KILL).await;
    }

    /// On the same port, empty.
    ///
    /// # Panics
    /// When the server is not a private one, or does not start.
    pub async fn start_again(&mut self) {
        let private = self.private_mut();
        assert!(private.service.is_none(), "Redis runs already");
        let service = run(private.directory.path(), private.port, &private.settings).await;
        private.service =
            Some(service.unwrap_or_else(|error| panic!("start Redis again: {error}")));
    }

    /// Stops it in the middle of what it does; connections stay.
    ///
    /// # Panics
    /// As `kill9`.
    pub fn freeze(&mut self) {
        self.private_mut().service.as_ref().expect("Redis runs").signal(Signal::STOP);
    }

    /// After `freeze` it goes on.
    ///
    /// # Panics
    /// As `kill9`.
    pub fn thaw(&mut self) {
        self.private_mut().service.as_ref().expect("Redis runs").signal(Signal::CONT);
    }

    fn private_mut(&mut self) -> &mut Private {
        self.private.as_mut().expect("only a private Redis may be stopped: use start_private")
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if let Some(service) = self.service.take() {
            service.stop_blocking(Signal::KILL);
        }
    }
}

async fn run(directory: &Path, port: u16, settings: &[OsString]) -> Result<Service, Error> {
    let program = find_program("redis-server").ok_or_else(|| {
        Error::new("redis-server is not installed; on Debian: apt-get install redis-server")
    })?;
    let port_text = port.to_string();
    let mut command = vec![
        program.as_os_str(),
        "--save".as_ref(),
        "".as_ref(),
        "--appendonly".as_ref(),
        "no".as_ref(),
        "--port".as_ref(),
        port_text.as_ref(),
        "--bind".as_ref(),
        "127.0.0.1".as_ref(),
        "--dir".as_ref(),
        directory.as_os_str(),
    ];
    command.extend(settings.iter().map(OsString::as_os_str));
    let service = Service::spawn(directory, "KILL", &command)?;
    let address = format!("127.0.0.1:{port}");
    let ready = async {
        let mut poll = tokio::time::interval(START_POLL);
        loop {
            poll.tick().await;
            // In this order, so that an answer is known to come from our server: two cannot listen.
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
        return Err(Error::new(format!("redis-server did not get ready; its log:\n{log}")));
    }
    Ok(service)
}

async fn answers(address: &str) -> bool {
    let ping = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(&answer == b"+PONG")
    };
    matches!(tokio::time::timeout(PROBE_DEADLINE, ping).await, Ok(Ok(true)))
}

fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}
