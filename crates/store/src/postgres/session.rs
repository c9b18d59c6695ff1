//! Connections of the pool, and the deadline of every call.
//!
//! Invariant: a connection goes back to the pool only from [`Session::release`], that is after
//! everything that was sent on it has been answered. One that an error, a deadline or a dropped
//! future leaves in the middle of something is closed, and the server rolls back.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime,
};
use futures_util::TryStreamExt;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::error::{OpenError, StoreError};

use super::PostgresOptions;
use super::connect::{Connector, Link};
use super::hosts;
use super::statements::Statement;

/// The server's own limit lies behind the caller's, so that it only ever ends what nobody waits
/// for any more: a statement whose connection was closed goes on otherwise, and keeps its locks.
const SERVER_GRACE: Duration = Duration::from_secs(1);

/// Found dead within a minute, although a network that drops packets tells nobody.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// What tokio-postgres sets when the connection string says nothing.
const KEEPALIVE_IDLE_UNSET: Duration = Duration::from_secs(2 * 60 * 60);

const OPTIONS_LOST: &str = "the pooler in front of the database drops `options` of the connection \
    string: set them for the role instead (ALTER ROLE … SET …), or connect to the database itself";

pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The pool.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    pool: Pool,
    link: Arc<Link>,
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
        let link = Arc::new(Link::new(&options.connection));
        let manager = Manager::from_connect(
            with_timeouts(options.connection.config.clone(), call_timeout),
            Connector::new(&options.connection, &settings, link.clone())?,
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let checked = link.clone();
        let check = Hook::sync_fn(move |_: &mut ClientWrapper, _| match checked.loses_options() {
            true => Err(HookError::message(OPTIONS_LOST)),
            false => Ok(()),
        });
        let pool = Pool::builder(manager)
            .max_size(options.pool_max)
            .runtime(Runtime::Tokio1)
            .post_create(check)
            .build()
            .map_err(|error| OpenError::Configuration(format!("connection pool: {error}")))?;
        let begin_pooled = begin_with(&settings).into();
        let has_several_hosts = hosts::are_several(&options.connection.config);
        Ok(Self { pool, link, begin_pooled, call_timeout, has_several_hosts })
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
                    self.pool.retain(|_, _| false);
                }
                Err(StoreError::timeout(self.call_timeout).into())
            }
        }
    }

    /// A connection to work with; to be called inside [`Connections::within`].
    pub(super) async fn session(&self) -> Result<Session, StoreError> {
        let object = self.pool.get().await?;
        // Asked afterwards, because what opens a connection finds it out.
        let begin = || self.link.schema.begin().unwrap_or_else(|| self.begin_pooled.clone());
        let begin_pooled = self.link.is_pooled().then(begin);
        Ok(Session { object: Some(object), begin_pooled })
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

    /// Opens connections until the pool holds `count`, so that the first calls need not wait.
    pub(super) async fn warm(&self, count: usize) -> Result<(), StoreError> {
        let mut sessions = Vec::with_capacity(count);
        for _ in 0..count {
            sessions.push(self.within(self.session()).await?);
        }
        sessions.into_iter().for_each(Session::release);
        Ok(())
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// See [`SchemaChoice::pin`](super::schema::SchemaChoice::pin). Connections that were not told are closed.
    pub(super) fn pin_schema(&self, schema: &str) {
        self.link.schema.pin(schema, &self.begin_pooled);
        self.pool.retain(|_, _| false);
    }

    pub(super) fn call_timeout(&self) -> Duration {
        self.call_timeout
    }
}

fn with_timeouts(
    mut config: tokio_postgres::Config,
    call_timeout: Duration,
) -> tokio_postgres::Config {
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(call_timeout);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(call_timeout);
    }
    if config.get_keepalives_idle() == KEEPALIVE_IDLE_UNSET {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(KEEPALIVE_RETRIES);
    }
    config
}

/// What the statements rely on, whatever the database's own defaults are.
///
/// Every read and write goes by key, so the plan that is right for a large table is right for all;
/// plans made while the tables are empty would scan them until statistics are gathered, and a scan
/// through a bitmap would lose the order of the key. And a statement that has waited for a lock must
/// see what was committed meanwhile.
fn session_settings(call_timeout: Duration) -> [(&'static str, String); 7] {
    let limit_ms = (call_timeout + SERVER_GRACE).as_millis().to_string();
    [
        ("default_transaction_isolation", "read committed".to_owned()),
        ("plan_cache_mode", "force_generic_plan".to_owned()),
        ("enable_seqscan", "off".to_owned()),
        ("enable_bitmapscan", "off".to_owned()),
        ("jit", "off".to_owned()),
        ("statement_timeout", limit_ms.clone()),
        ("idle_in_transaction_session_timeout", limit_ms),
    ]
}

/// Begins a transaction with settings that end with it.
fn begin_with(settings: &[(&str, String)]) -> String {
    let locals = settings.iter().map(|(name, value)| format!("; SET LOCAL {name} = '{value}'"));
    // The default for transactions comes too late for this one.
    format!("BEGIN ISOLATION LEVEL READ COMMITTED{}", locals.collect::<String>())
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
        let prepared = self.client().prepare_typed_cached(statement.text, statement.types).await?;
        Ok(Ready::Prepared(prepared))
    }

    /// The rows of a statement inside of the open transaction.
    pub(super) async fn query(
        &self,
        statement: &Ready,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        match statement {
            Ready::Prepared(statement) => self.client().query(statement, parameters).await,
            Ready::Whole(statement) => {
                let typed = with_types(statement, parameters);
                self.client().query_typed(statement.text, &typed).await
            }
        }
    }

    /// As [`Session::query`]: how many rows it touched.
    pub(super) async fn count(
        &self,
        statement: &Ready,
        parameters: Parameters<'_>,
    ) -> Result<u64, tokio_postgres::Error> {
        match statement {
            Ready::Prepared(statement) => self.client().execute(statement, parameters).await,
            Ready::Whole(statement) => {
                let typed = with_types(statement, parameters);
                self.client().execute_typed(statement.text, &typed).await
            }
        }
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
        self.client().batch_execute(text).await
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
        // Outside of the pool the connection is closed when it is dropped.
        drop(self.object.take().map(Object::take));
    }
}
