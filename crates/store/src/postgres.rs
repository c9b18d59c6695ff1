//! The PostgreSQL back end: documents and deltas in the tables of `migrations/`.
//!
//! The store keeps nothing in memory but connections, so any number of processes may use one
//! database. `statements` has all the SQL; `pool` the connections and the deadlines; `hosts`, `connect`
//! and [`tls`] the way to the server; `append` the write path, `documents` all else; `schema`, `find_schema` and
//! [`migrate`] the schema.

mod append;
mod cancel;
mod connect;
pub mod connection_string;
mod documents;
mod failure;
mod find_schema;
mod hosts;
pub mod migrate;
mod pool;
mod read;
mod schema;
mod session;
mod statements;
pub mod tls;

use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;

use crate::contract::{DocumentStore, Health, Identity, StorageProvider};
use crate::error::{OpenError, StoreError};
use crate::sql;
pub use crate::sql::CALL_TIMEOUT_DEFAULT;

use connection_string::ConnectionSettings;
use documents::{PostgresStore, no_origin};
use migrate::Migrator;
use pool::Connections;
use session::Parameters;

/// Connections when nothing else is said.
pub const POOL_MAX_DEFAULT: usize = 10;

/// Those of them that only appends use, when nothing else is said.
pub const WRITERS_DEFAULT: usize = 2;

/// Where the database is and how to use it.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Address, credentials and TLS. Keepalives and timeouts that it doesn't set are set.
    pub connection: ConnectionSettings,
    /// Connections at most, but for the few that cancel calls.
    pub pool_max: usize,
    /// Of these, how many are kept for appends: at least one, and at least one is left for the rest.
    pub writers: usize,
    /// Connections that are opened at the start.
    pub pool_min: usize,
    /// The deadline of each call, waiting for a connection included.
    pub call_timeout: Duration,
    /// Whether a start brings the schema up to date. If not, it fails where something is missing.
    pub migrates: bool,
}

impl PostgresOptions {
    /// The defaults for the database at this address.
    #[must_use]
    pub fn new(connection: ConnectionSettings) -> Self {
        Self {
            connection,
            pool_max: POOL_MAX_DEFAULT,
            writers: WRITERS_DEFAULT,
            pool_min: 0,
            call_timeout: CALL_TIMEOUT_DEFAULT,
            migrates: true,
        }
    }
}

/// The back end `postgresql`.
#[derive(Debug)]
pub struct PostgresProvider {
    documents: PostgresStore,
    connections: Connections,
    pool_min: usize,
    migrates: bool,
}

impl PostgresProvider {
    /// Checks the options and reads the certificates; connects to nothing yet.
    ///
    /// # Errors
    /// [`OpenError::Configuration`] for a pool that leaves no connection to writers or to readers,
    /// and for certificates that can't be read.
    pub fn new(options: &PostgresOptions) -> Result<Self, OpenError> {
        let PostgresOptions { pool_min, pool_max, writers, .. } = *options;
        if writers == 0 || writers >= pool_max || pool_min > pool_max {
            return Err(OpenError::Configuration(format!(
                "a pool of {pool_min} to {pool_max} connections, {writers} of them for appends"
            )));
        }
        let connections = Connections::new(options)?;
        let documents = PostgresStore::new(connections.clone());
        let PostgresOptions { pool_min, migrates, .. } = *options;
        Ok(Self { documents, connections, pool_min, migrates })
    }

    /// The schema of the database.
    #[must_use]
    pub fn migrator(&self) -> Migrator {
        Migrator::new(self.connections.clone(), migrate::MIGRATIONS)
    }

    async fn check_server(&self) -> Result<(), OpenError> {
        let rows = self.connections.rows(statements::SERVER, &[]).await?;
        let Some(row) = rows.first() else {
            return Err(OpenError::Configuration("the server does not say what it is".into()));
        };
        let (version, encoding): (i32, &str) = (row.try_get(0)?, row.try_get(1)?);
        if version < 120_000 {
            let text = format!("PostgreSQL 12 or newer is needed, this is {version}");
            return Err(OpenError::Configuration(text));
        }
        if encoding != "UTF8" {
            let text = format!("the database's encoding must be UTF8, it is {encoding}");
            return Err(OpenError::Configuration(text));
        }
        for (setting, column) in [("fsync", 2), ("synchronous_commit", 3)] {
            if !row.try_get::<_, bool>(column)? {
                tracing::warn!(
                    "{setting} of the database is off: an edit is acknowledged before it is on the \
                     disk, and a crash of the database loses what was acknowledged last"
                );
            }
        }
        Ok(())
    }
}

#[async_trait]
impl StorageProvider for PostgresProvider {
    fn name(&self) -> &'static str {
        "postgresql"
    }

    fn documents(&self) -> &dyn DocumentStore {
        &self.documents
    }

    async fn initialize(&self) -> Result<(), OpenError> {
        self.check_server().await?;
        match self.migrates {
            true => self.migrator().run().await.map(drop)?,
            false => self.migrator().check().await?,
        }
        Ok(self.connections.warm(self.pool_min).await?)
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        let rows = self.connections.rows(statements::IDENTITY, &[]).await?;
        let Some(row) = rows.first() else { return Err(no_origin()) };
        let number = |column| row.try_get::<_, i64>(column).map(i64::cast_unsigned);
        let history = number(0)?;
        self.documents.saw(history);
        Ok(Identity {
            history,
            tables: Some([number(1)?, number(2)?, number(3)?]),
            file: number(4)?,
        })
    }

    async fn begin_history(&self, seen: u64) -> Result<(), StoreError> {
        let seen = sql::signed(seen)?;
        self.connections.execute(statements::BEGIN_HISTORY, &[&seen]).await.map(drop)
    }

    fn waits_for(&self) -> Option<String> {
        self.connections.facts().waiting.lock().clone()
    }

    async fn check_health(&self) -> Result<Health, StoreError> {
        let start = Instant::now();
        let look = async {
            let session = self.connections.looking_session().await?;
            let rows = session.rows(statements::LOOK, &[]).await?;
            session.release();
            Ok::<_, StoreError>(rows)
        };
        let rows = self.connections.within(look).await?;
        let latency = start.elapsed();
        let writes_refused = rows.first().map(read::refusal).transpose()?.flatten();
        Ok(Health { latency, writes_refused })
    }

    async fn try_write(&self) -> Result<(), StoreError> {
        let write = async {
            let session = self.connections.writing_session().await?;
            let write = session.ready(statements::TRY_WRITE).await?;
            // Another on every try, so that two nodes don't wait for each other.
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let place = i64::try_from(now.as_nanos()).unwrap_or_default();
            let parameters: Parameters<'_> = &[&place, &place];
            // Taken back with no right but that of an append; the commit has all the same something
            // to write, and to wait for.
            let (begun, marked, written, undone, committed) = tokio::join!(
                biased;
                session.begin(),
                session.run("SAVEPOINT try_write"),
                session.count(&write, parameters),
                session.run("ROLLBACK TO SAVEPOINT try_write"),
                session.commit(),
            );
            begun?;
            marked?;
            written?;
            undone?;
            committed?;
            session.release();
            Ok(())
        };
        self.connections.within(write).await
    }
}
