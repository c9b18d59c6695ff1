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
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime,
};
use futures_util::TryStreamExt;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::error::{OpenError, StoreError};

use super::PostgresOptions;
use super::cancel::Canceller;
use super::connect::{Connector, ServerFacts};
use super::hosts;
use super::statements::Statement;
use settings::{begin_with, session_settings, with_timeouts};

const OPTIONS_LOST: &str = "the pooler in front of the database drops `options` of the connection \
    string: set them for the role instead (ALTER ROLE … SET …), or connect to the database itself";

pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

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
        let unanswered = AtomicU32::new(0);
        Ok(Session { object: Some(object), begin_pooled, unanswered, canceller })
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

/// A connection taken out of the pool.
///
/// Behind a pooler every statement stands in a transaction that also has its settings, and is sent
/// whole rather than prepared. It costs the server to parse and plan it each time, but no round
/// trip more: nobody waits for the answer to `BEGIN`.
pub(super) struct Session {
    /// There until it is released or dropped.
    object: Option<Object>,
    /// What begins a transaction behind a pooler; `None` on a connection of its own.
    begin_pooled: Option<Arc<str>>,
    /// What was sent and is not answered yet.
    unanswered: AtomicU32,
    canceller: Canceller,
}

/// A statement that can be sent without waiting for anything.
pub(super) enum Ready {
    Prepared(tokio_postgres::Statement),
    Whole(Statement),
}

impl Session {
    /// Gives the connection back. Nothing may be under way on it, no transaction open.
    pub(super) fn release(mut self) {
        drop(self.object.take());
    }

    /// To be called before a transaction whose statements are sent in one go.
    pub(super) async fn ready(&self, statement: Statement) -> Result<Ready, tokio_postgres::Error> {
        if self.begin_pooled.is_some() {
            return Ok(Ready::Whole(statement));
        }
        self.is_sent();
        let prepared = self.client().prepare_typed_cached(statement.text, statement.types).await;
        self.is_answered();
        let prepared = prepared?;
        Ok(Ready::Prepared(prepared))
    }

    /// The rows of a statement inside of the open transaction.
    pub(super) async fn query(
        &self,
        statement: &Ready,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        self.is_sent();
        let answer = match statement {
            Ready::Prepared(statement) => self.client().query(statement, parameters).await,
            Ready::Whole(statement) => {
                let typed = with_types(statement, parameters);
                self.client().query_typed(statement.text, &typed).await
            }
        };
        self.is_answered();
        answer
    }

    /// As [`Session::query`]: how many rows it touched.
    pub(super) async fn count(
        &self,
        statement: &Ready,
        parameters: Parameters<'_>,
    ) -> Result<u64, tokio_postgres::Error> {
        self.is_sent();
        let answer = match statement {
            Ready::Prepared(statement) => self.client().execute(statement, parameters).await,
            Ready::Whole(statement) => {
                let typed = with_types(statement, parameters);
                self.client().execute_typed(statement.text, &typed).await
            }
        };
        self.is_answered();
        answer
    }

    /// Begins a transaction of several statements.
    pub(super) async fn begin(&self) -> Result<(), tokio_postgres::Error> {
        self.run(self.begin_pooled.as_deref().unwrap_or("BEGIN")).await
    }

    pub(super) async fn commit(&self) -> Result<(), tokio_postgres::Error> {
        self.run("COMMIT").await
    }

    /// Text without parameters, of any number of statements.
    pub(super) async fn run(&self, text: &str) -> Result<(), tokio_postgres::Error> {
        self.is_sent();
        let answer = self.client().batch_execute(text).await;
        self.is_answered();
        answer
    }

    pub(super) async fn rows_in_transaction(
        &self,
        statement: Statement,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        self.query(&self.ready(statement).await?, parameters).await
    }

    /// One statement that is a transaction.
    pub(super) async fn rows(
        &self,
        statement: Statement,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let statement = self.ready(statement).await?;
        self.alone(self.query(&statement, parameters)).await
    }

    /// As [`Session::rows`], with each row read as it comes in.
    async fn read_rows<T>(
        &self,
        statement: Statement,
        parameters: Parameters<'_>,
        mut read: impl FnMut(&Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let statement = self.ready(statement).await?;
        // One that ends early may have more rows on their way, so that it is cancelled.
        self.is_sent();
        self.alone(async {
            let rows = match &statement {
                Ready::Prepared(statement) => {
                    self.client().query_raw(statement, parameters.iter().copied()).await?
                }
                Ready::Whole(statement) => {
                    let typed = with_types(statement, parameters);
                    self.client().query_typed_raw(statement.text, typed).await?
                }
            };
            let mut rows = std::pin::pin!(rows);
            let mut values = Vec::new();
            while let Some(row) = rows.try_next().await? {
                values.push(read(&row)?);
            }
            self.is_answered();
            Ok(values)
        })
        .await
    }

    /// As [`Session::rows`]: how many rows it touched.
    pub(super) async fn execute(
        &self,
        statement: Statement,
        parameters: Parameters<'_>,
    ) -> Result<u64, tokio_postgres::Error> {
        let statement = self.ready(statement).await?;
        self.alone(self.count(&statement, parameters)).await
    }

    /// Makes a transaction of one statement, where it isn't one by itself.
    async fn alone<T, E: From<tokio_postgres::Error>>(
        &self,
        statement: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        if self.begin_pooled.is_none() {
            return statement.await;
        }
        // Sent in this order. A statement that fails makes the commit a rollback, and one that
        // can't even be sent leaves nothing to commit.
        let (begun, answer, committed) =
            tokio::join!(biased; self.begin(), statement, self.commit());
        begun?;
        let answer = answer?;
        committed?;
        Ok(answer)
    }

    fn is_sent(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// Never reached by a call whose future is dropped.
    fn is_answered(&self) {
        self.unanswered.fetch_sub(1, Ordering::Relaxed);
    }

    fn client(&self) -> &ClientWrapper {
        self.object.as_ref().expect("a session holds its connection until it ends")
    }
}

fn with_types<'a>(
    statement: &Statement,
    parameters: Parameters<'a>,
) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    parameters.iter().copied().zip(statement.types.iter().cloned()).collect()
}

impl Drop for Session {
    fn drop(&mut self) {
        // Outside of its pool the connection is closed when it is dropped.
        let Some(client) = self.object.take().map(Object::take) else { return };
        if *self.unanswered.get_mut() > 0 {
            self.canceller.cancel(client);
        }
    }
}
