//! Connections of the pools, and the deadline of every call.
//!
//! Appends have connections of their own, so that none waits behind those who read, however many.
//!
//! Invariant: a connection goes back to its pool only from [`Session::release`], that is after
//! everything that was sent on it has been answered. One that an error, a deadline or a dropped
//! future leaves in the middle of something is closed, and the server rolls back; what it is in
//! the middle of is cancelled (`cancel`), since a server that waits looks at no connection.

mod settings;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime,
};
use tokio_postgres::Row;

use crate::error::{OpenError, StoreError};

use super::PostgresOptions;
use super::cancel::Canceller;
use super::connect::{Connector, ServerFacts};
use super::hosts;
use super::session::{Parameters, Session};
use super::statements::Statement;
use settings::{begin_with, session_settings, with_timeouts};

const OPTIONS_LOST: &str = "the pooler in front of the database drops `options` of the connection \
    string: set them for the role instead (ALTER ROLE … SET …), or connect to the database itself";

/// The pools.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    writers: Pool,
    readers: Pool,
    canceller: Canceller,
    facts: Arc<ServerFacts>,
    /// What begins a transaction where a connection doesn't keep its settings.
    begin_pooled: Arc<str>,
    call_timeout: Duration,
    has_several_hosts: bool,
}

impl Connections {
    /// Opens nothing yet.
    pub(super) fn new(options: &PostgresOptions) -> Result<Self, OpenError> {
        let call_timeout = options.call_timeout;
        let settings = session_settings(call_timeout);
        let facts = Arc::new(ServerFacts::new(&options.connection));
        let connector = Connector::new(&options.connection, &settings, facts.clone())?;
        let config = with_timeouts(options.connection.config.clone(), call_timeout);
        let pool = |size| {
            let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
            let manager = Manager::from_connect(config.clone(), connector.clone(), recycling);
            let checked = facts.clone();
            let check =
                Hook::sync_fn(move |_: &mut ClientWrapper, _| match checked.loses_options() {
                    true => Err(HookError::message(OPTIONS_LOST)),
                    false => Ok(()),
                });
            let pool = Pool::builder(manager).max_size(size).runtime(Runtime::Tokio1);
            pool.post_create(check)
                .build()
                .map_err(|error| OpenError::Configuration(format!("connection pool: {error}")))
        };
        let writers = pool(options.writers)?;
        let readers = pool(options.pool_max - options.writers)?;
        let canceller = Canceller::new(connector.tls());
        let begin_pooled = begin_with(&settings).into();
        let has_several_hosts = hosts::are_several(&options.connection.config);
        Ok(Self {
            writers,
            readers,
            canceller,
            facts,
            begin_pooled,
            call_timeout,
            has_several_hosts,
        })
    }

    /// Runs `work` until its deadline.
    pub(super) async fn within<T, E: From<StoreError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match tokio::time::timeout(self.call_timeout, work).await {
            Ok(result) => result,
            Err(_) => {
                if self.has_several_hosts {
                    // Others lead to the same silent server; each would cost one call its deadline.
                    self.close_idle();
                }
                Err(StoreError::timeout(self.call_timeout).into())
            }
        }
    }

    /// A connection to work with; to be called inside [`Connections::within`].
    pub(super) async fn session(&self) -> Result<Session, StoreError> {
        self.session_of(&self.readers).await
    }

    /// As [`Connections::session`], of those that are kept for appends.
    pub(super) async fn writing_session(&self) -> Result<Session, StoreError> {
        self.session_of(&self.writers).await
    }

    /// A connection for a short look: of those that read, or where they are all in use, and may
    /// hang, one that writes and has nothing to do.
    pub(super) async fn looking_session(&self) -> Result<Session, StoreError> {
        let is_idle = |pool: &Pool| pool.status().available > 0;
        let pool = match !is_idle(&self.readers) && is_idle(&self.writers) {
            true => &self.writers,
            false => &self.readers,
        };
        self.session_of(pool).await
    }

    async fn session_of(&self, pool: &Pool) -> Result<Session, StoreError> {
        let object = pool.get().await?;
        // Asked afterwards, because what opens a connection finds it out.
        let begin = || self.facts.schema.begin().unwrap_or_else(|| self.begin_pooled.clone());
        let begin_pooled = self.facts.is_pooled().then(begin);
        let canceller = self.canceller.clone();
        Ok(Session::new(object, begin_pooled, canceller))
    }

    /// One statement on a connection of its own, within the deadline.
    pub(super) async fn rows(
        &self,
        statement: Statement,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        self.within(async {
            let session = self.session().await?;
            let rows = session.rows(statement, parameters).await?;
            session.release();
            Ok(rows)
        })
        .await
    }

    /// As [`Connections::rows`], for many: each is read while the server still makes the next.
    pub(super) async fn read_rows<T>(
        &self,
        statement: Statement,
        parameters: Parameters<'_>,
        read: impl FnMut(&Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.within(async {
            let session = self.session().await?;
            let values = session.read_rows(statement, parameters, read).await?;
            session.release();
            Ok(values)
        })
        .await
    }

    /// As [`Connections::rows`], for a statement that has none: how many rows it touched.
    pub(super) async fn execute(
        &self,
        statement: Statement,
        parameters: Parameters<'_>,
    ) -> Result<u64, StoreError> {
        self.within(async {
            let session = self.session().await?;
            let count = session.execute(statement, parameters).await?;
            session.release();
            Ok(count)
        })
        .await
    }

    /// Opens connections until the pools hold `count`, those for appends first, so that the first
    /// calls need not wait.
    pub(super) async fn warm(&self, count: usize) -> Result<(), StoreError> {
        let writers = self.writers.status().max_size;
        let mut sessions = Vec::with_capacity(count);
        for at in 0..count {
            let pool = if at < writers { &self.writers } else { &self.readers };
            sessions.push(self.within(self.session_of(pool)).await?);
        }
        sessions.into_iter().for_each(Session::release);
        Ok(())
    }

    pub(super) fn facts(&self) -> &ServerFacts {
        &self.facts
    }

    /// See [`SchemaChoice::pin`](super::schema::SchemaChoice::pin). Connections that were not told are closed.
    pub(super) fn pin_schema(&self, schema: &str) {
        self.facts.schema.pin(schema, &self.begin_pooled);
        self.close_idle();
    }

    /// Connections that are in use go on until they are released.
    fn close_idle(&self) {
        for pool in [&self.writers, &self.readers] {
            pool.retain(|_, _| false);
        }
    }

    pub(super) fn call_timeout(&self) -> Duration {
        self.call_timeout
    }
}
