//! A PostgreSQL server for tests, and databases of its own for each of them.

mod address;
mod bouncer;
mod private;
mod standby;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OnceCell};
use tokio_postgres::{NoTls, SimpleQueryMessage};
use uuid::Uuid;

use crate::Error;
use address::Address;
use private::Private;

pub use bouncer::PgBouncer;
pub use private::ServerTls;

/// Names a PostgreSQL server that already runs: a `postgres://` URL of a role that may create databases.
pub const POSTGRES_VARIABLE: &str = "SYNCKIT_TEST_POSTGRES";

/// What the compose file of the repository starts.
const COMPOSE_URL: &str = "postgres://synckit:synckit_test@127.0.0.1:5432/synckit_test";

/// A service on this machine answers in milliseconds; an absent one must not slow every test process.
const PROBE_DEADLINE: Duration = Duration::from_secs(2);

/// Creating or dropping a database copies files and waits for a checkpoint of a server that other tests
/// keep busy.
const STATEMENT_DEADLINE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub struct Postgres {
    address: Address,
    private: Option<Arc<Mutex<Private>>>,
}

impl Postgres {
    /// The server named by the environment, else the compose test service, else a private one.
    ///
    /// # Panics
    /// When there is none and none can be started; the text says what is missing.
    pub async fn start() -> Self {
        Self::try_start()
            .await
            .unwrap_or_else(|error| panic!("no PostgreSQL for the tests: {error}"))
    }

    pub async fn try_start() -> Result<Self, Error> {
        if let Some(url) = std::env::var(POSTGRES_VARIABLE).ok().filter(|value| !value.is_empty()) {
            let address = Address::parse(&url)?;
            execute(&address, "SELECT 1", PROBE_DEADLINE).await.map_err(|error| {
                Error::new(format!("the server in {POSTGRES_VARIABLE}: {error}"))
            })?;
            return Ok(Self { address, private: None });
        }
        let compose = Address::parse(COMPOSE_URL)?;
        if execute(&compose, "SELECT 1", PROBE_DEADLINE).await.is_ok() {
            return Ok(Self { address: compose, private: None });
        }
        Self::try_start_private(None).await
    }

    /// A server of the caller's own, which may be stopped and killed.
    ///
    /// # Panics
    /// As `start`.
    pub async fn start_private() -> Self {
        Self::try_start_private(None)
            .await
            .unwrap_or_else(|error| panic!("no PostgreSQL for the tests: {error}"))
    }

    /// As `start_private`, on a server that finds a file system of this size, which nobody else has,
    /// at the path in the answer. `None` on a machine that lets this process mount nothing.
    ///
    /// # Panics
    /// As `start`.
    pub async fn start_private_with_small_disk(bytes: u64) -> Option<(Self, PathBuf)> {
        let started = Private::start_with_small_disk(bytes)
            .await
            .unwrap_or_else(|error| panic!("no PostgreSQL with a small disk: {error}"));
        started.map(|(private, disk)| (Self::of(private), disk))
    }

    /// As `start_private`, on a server that speaks TLS to those who ask for it.
    ///
    /// # Panics
    /// As `start`.
    pub async fn start_private_with_tls(tls: &ServerTls) -> Self {
        Self::try_start_private(Some(tls))
            .await
            .unwrap_or_else(|error| panic!("no PostgreSQL with TLS for the tests: {error}"))
    }

    /// As `start_private`, on a server with these lines of `pg_hba.conf` in front of those that let
    /// everybody in.
    ///
    /// # Panics
    /// As `start`.
    pub async fn start_private_with_access(access: &[&str]) -> Self {
        let started = Private::start(None, access).await;
        Self::of(started.unwrap_or_else(|error| panic!("no PostgreSQL for the tests: {error}")))
    }

    async fn try_start_private(tls: Option<&ServerTls>) -> Result<Self, Error> {
        Private::start(tls, &[]).await.map(Self::of)
    }

    fn of(private: Private) -> Self {
        let address = private.address();
        Self { address, private: Some(Arc::new(Mutex::new(private))) }
    }

    /// One server for all tests of this process.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// The URL of the maintenance database.
    pub fn url(&self) -> String {
        self.address.url()
    }

    /// An empty database under a name nobody else uses, dropped with the value.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn create_database(&self) -> Database {
        let name = format!("synckit_test_{}", Uuid::new_v4().simple());
        execute(&self.address, &format!("CREATE DATABASE {name}"), STATEMENT_DEADLINE)
            .await
            .unwrap_or_else(|error| panic!("create a database for the test: {error}"));
        let address = self.address.with_database(&name);
        Database { address, name, server: self.clone(), is_dropped: true }
    }

    /// Stops the server in the regular way and starts it on the same port with the same data.
    ///
    /// # Panics
    /// When the server is not a private one: the caller must not take away what others use.
    pub async fn restart(&self) {
        self.stop().await;
        self.start_again().await;
    }

    /// The regular, fast shutdown: open connections are cut, everything is written.
    ///
    /// # Panics
    /// As `restart`.
    pub async fn stop(&self) {
        self.private().lock().await.stop().await;
    }

    /// What a crash of the machine's database process looks like.
    ///
    /// # Panics
    /// As `restart`.
    pub async fn kill9(&self) {
        self.private().lock().await.kill9().await;
    }

    /// On the same port, with the same data.
    ///
    /// # Panics
    /// When the server is not a private one, runs already, or does not start.
    pub async fn start_again(&self) {
        self.private()
            .lock()
            .await
            .start_again()
            .await
            .unwrap_or_else(|error| panic!("start PostgreSQL again: {error}"));
    }

    fn private(&self) -> &Mutex<Private> {
        self.private.as_ref().expect("only a private PostgreSQL may be stopped: use start_private")
    }
}

pub struct Database {
    address: Address,
    name: String,
    /// Keeps a private server alive as long as one of its databases.
    server: Postgres,
    is_dropped: bool,
}

impl Database {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn url(&self) -> String {
        self.address.url()
    }

    /// The same database as another role sees it.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        let (user, password) = (user.to_owned(), password.to_owned());
        Address { user, password, ..self.address.clone() }.url()
    }

    /// `Host=…;Port=…;Database=…;Username=…;Password=…`
    pub fn connection_string(&self) -> String {
        self.address.connection_string()
    }

    /// The same database behind another loopback port, where a proxy listens.
    pub fn url_at_port(&self, port: u16) -> String {
        Address { host: Ipv4Addr::LOCALHOST.to_string(), port, ..self.address.clone() }.url()
    }

    /// `host:port` of the server.
    pub fn server_address(&self) -> String {
        self.server.server_address()
    }

    /// Asks the database outside of the program under test: rows of values as text, `NULL` as an empty
    /// one.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        query(&self.address, sql, STATEMENT_DEADLINE)
            .await
            .unwrap_or_else(|error| panic!("query {sql}: {error}"))
    }

    /// Runs SQL outside of the program under test.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn execute(&self, sql: &str) {
        execute(&self.address, sql, STATEMENT_DEADLINE)
            .await
            .unwrap_or_else(|error| panic!("execute {sql}: {error}"));
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.is_dropped {
            return;
        }
        let address = self.server.address.clone();
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // On a thread of its own, because a runtime cannot be entered twice and the test may be in one.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime can be built");
            // A test may have stopped the server for good; then the database goes with its directory.
            let _ = runtime.block_on(execute(&address, &sql, STATEMENT_DEADLINE));
        });
        let _ = dropping.join();
    }
}

/// Runs SQL on a connection of its own.
async fn execute(address: &Address, sql: &str, deadline: Duration) -> Result<(), Error> {
    query(address, sql, deadline).await.map(drop)
}

/// As `execute`, with the rows of the answer.
async fn query(
    address: &Address,
    sql: &str,
    deadline: Duration,
) -> Result<Vec<Vec<String>>, Error> {
    let run = async {
        let (client, connection) = tokio_postgres::connect(&address.url(), NoTls).await?;
        tokio::select! {
            result = client.simple_query(sql) => result,
            // Drives the statement; ends first only when the connection breaks.
            Err(error) = connection => Err(error),
        }
    };
    match tokio::time::timeout(deadline, run).await {
        Ok(Ok(messages)) => Ok(messages.iter().filter_map(row_text).collect()),
        Ok(Err(error)) => {
            // The display of the driver's error leaves the cause out.
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            Err(Error::new(format!("{error}: {}", cause.unwrap_or_default())))
        }
        Err(_) => Err(Error::new(format!("no answer within {deadline:?}"))),
    }
}

fn row_text(message: &SimpleQueryMessage) -> Option<Vec<String>> {
    let SimpleQueryMessage::Row(row) = message else { return None };
    Some((0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned()).collect())
}
