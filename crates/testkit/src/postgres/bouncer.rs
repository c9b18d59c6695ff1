//! PgBouncer in front of a PostgreSQL server, in transaction mode: what one client is told about its
//! connection, another one may get.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::address::Address;
use super::private::{as_unprivileged, give_away, write_private};
use super::{PROBE_DEADLINE, Postgres, execute};
use crate::service::Service;
use crate::{Error, free_port};

/// It starts in milliseconds; this leaves room for a machine busy with other tests.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// How often a starting one is asked.
const START_POLL: Duration = Duration::from_millis(20);

/// Another process can take a free port before PgBouncer does, but not again and again.
const PORT_ATTEMPTS: usize = 3;

/// Few, so that clients have to share them; more than one, so that a client changes between them.
const SERVER_CONNECTIONS: usize = 4;

const INSTALL_HINT: &str = "PgBouncer is not installed; on Debian: apt-get install pgbouncer";

/// Debian puts it where the search path of most accounts doesn't lead.
const SYSTEM_DIRECTORY: &str = "/usr/sbin";

pub struct PgBouncer {
    service: Option<Service>,
    directory: TempDir,
    server: Address,
    settings: Vec<String>,
    port: u16,
}

impl PgBouncer {
    /// Lets everybody in to all databases of the server.
    ///
    /// # Panics
    /// When it is not installed or does not start; the text says which.
    pub async fn start(postgres: &Postgres) -> Self {
        Self::start_with_settings(postgres, &[]).await
    }

    /// As `start`, with further lines of its `[pgbouncer]` section.
    ///
    /// # Panics
    /// As `start`.
    pub async fn start_with_settings(postgres: &Postgres, settings: &[&str]) -> Self {
        Self::try_start(postgres, settings)
            .await
            .unwrap_or_else(|error| panic!("no PgBouncer for the tests: {error}"))
    }

    async fn try_start(postgres: &Postgres, settings: &[&str]) -> Result<Self, Error> {
        let directory = tempfile::Builder::new()
            .prefix("synckit-pgbouncer-")
            .tempdir()
            .map_err(Error::while_doing("make a directory for PgBouncer"))?;
        give_away(directory.path())?;
        let mut bouncer = Self {
            service: None,
            directory,
            server: postgres.address.clone(),
            settings: settings.iter().map(ToString::to_string).collect(),
            port: free_port(),
        };
        for _ in 1..PORT_ATTEMPTS {
            match bouncer.start_once().await {
                Err(error) if error.mentions("ddress already in use") => bouncer.port = free_port(),
                started => return started.map(|()| bouncer),
            }
        }
        bouncer.start_once().await.map(|()| bouncer)
    }

    /// Where it listens, on the loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it at once: the connections of all clients are cut.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn stop(&mut self) {
        self.service.take().expect("PgBouncer runs").stop(Signal::TERM).await;
    }

    /// On the same port.
    ///
    /// # Panics
    /// When it runs already, or does not start.
    pub async fn start_again(&mut self) {
        assert!(self.service.is_none(), "PgBouncer runs already");
        self.start_once().await.unwrap_or_else(|error| panic!("start PgBouncer again: {error}"));
    }

    async fn start_once(&mut self) -> Result<(), Error> {
        let program = find_program().ok_or_else(|| Error::new(INSTALL_HINT))?;
        let file = self.directory.path().join("pgbouncer.ini");
        write_private(&file, &self.configuration())?;
        let mut command = as_unprivileged();
        command.extend([program.into(), OsString::from(&file)]);
        // A failed attempt must not be explained by the log of the one before.
        let _ = std::fs::remove_file(self.directory.path().join("log"));
        let service = Service::spawn(self.directory.path(), "TERM", &command)?;
        let address =
            Address { host: "127.0.0.1".to_owned(), port: self.port, ..self.server.clone() };
        let ready = async {
            let mut poll = tokio::time::interval(START_POLL);
            loop {
                poll.tick().await;
                // In this order, so that an answer is known to come from ours: two cannot listen.
                let answered = execute(&address, "SELECT 1", PROBE_DEADLINE).await.is_ok();
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
            return Err(Error::new(format!("PgBouncer did not get ready; its log:\n{log}")));
        }
        self.service = Some(service);
        Ok(())
    }

    fn configuration(&self) -> String {
        let Address { host, port, user, password, .. } = &self.server;
        let more = self.settings.join("\n");
        format!(
            "[databases]\n\
             * = host={host} port={port} user={user} password={password}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {}\n\
             unix_socket_dir =\n\
             auth_type = any\n\
             pool_mode = transaction\n\
             default_pool_size = {SERVER_CONNECTIONS}\n\
             max_client_conn = 500\n\
             {more}\n",
            self.port
        )
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        if let Some(service) = self.service.take() {
            service.stop_blocking(Signal::TERM);
        }
    }
}

fn find_program() -> Option<PathBuf> {
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&search_path)
        .chain([PathBuf::from(SYSTEM_DIRECTORY)])
        .map(|directory| directory.join("pgbouncer"))
        .find(|file| file.is_file())
}
