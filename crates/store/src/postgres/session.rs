//! Connections of the pool, and the deadline of every call.
//!
//! Invariant: a connection goes back to the pool only from [`Session::release`], that is after
//! everything that was sent on it has been answered. One that an error, a deadline or a dropped
//! future leaves in the middle of something is closed, and the server rolls back.

use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime,
};
use tokio_postgres::types::ToSql;
use tokio_postgres::{NoTls, Row};

use crate::error::StoreError;

use super::PostgresOptions;

/// The server's own limit lies behind the caller's, so that it only ever ends what nobody waits
/// for any more: a statement whose connection was closed goes on otherwise, and keeps its locks.
const SERVER_GRACE: Duration = Duration::from_secs(1);

/// Found dead within a minute, although a network that drops packets tells nobody.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// What tokio-postgres sets when the connection string says nothing.
const KEEPALIVE_IDLE_UNSET: Duration = Duration::from_secs(2 * 60 * 60);

pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The pool.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    pool: Pool,
    call_timeout: Duration,
}

impl Connections {
    /// Opens nothing yet.
    pub(super) fn new(options: &PostgresOptions) -> Result<Self, StoreError> {
        let call_timeout = options.call_timeout;
        let manager = Manager::from_config(
            with_timeouts(options.config.clone(), call_timeout),
            NoTls,
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let settings = session_settings(call_timeout);
        let prepare_session = Hook::async_fn(move |client: &mut ClientWrapper, _| {
            let settings = settings.clone();
            Box::pin(
                async move { client.batch_execute(&settings).await.map_err(HookError::Backend) },
            )
        });
        let pool = Pool::builder(manager)
            .max_size(options.pool_max)
            .runtime(Runtime::Tokio1)
            .post_create(prepare_session)
            .build()
            .map_err(|error| StoreError::Refused(format!("connection pool: {error}")))?;
        Ok(Self { pool, call_timeout })
    }

    /// Runs `work` until its deadline.
    pub(super) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.call_timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::Timeout(self.call_timeout)),
        }
    }

    /// A connection to work with; to be called inside [`Connections::within`].
    pub(super) async fn session(&self) -> Result<Session, StoreError> {
        Ok(Session { object: Some(self.pool.get().await?) })
    }

    /// One statement on a connection of its own, within the deadline.
    pub(super) async fn rows(
        &self,
        statement: &str,
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

    /// As [`Connections::rows`], for a statement that has none: how many rows it touched.
    pub(super) async fn execute(
        &self,
        statement: &str,
        parameters: Parameters<'_>,
    ) -> Result<u64, StoreError> {
        self.within(async {
            let session = self.session().await?;
            let prepared = session.prepare_cached(statement).await?;
            let count = session.execute(&prepared, parameters).await?;
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
/// plans made while the tables are empty would scan them until statistics are gathered. And a
/// statement that has waited for a lock must see what was committed meanwhile.
fn session_settings(call_timeout: Duration) -> String {
    let limit_ms = (call_timeout + SERVER_GRACE).as_millis();
    format!(
        "SET default_transaction_isolation = 'read committed'; \
         SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
         SET jit = off; SET statement_timeout = {limit_ms}; \
         SET idle_in_transaction_session_timeout = {limit_ms}"
    )
}

/// A connection taken out of the pool.
pub(super) struct Session {
    /// There until it is released or dropped.
    object: Option<Object>,
}

impl Session {
    /// Gives the connection back. Nothing may be under way on it, no transaction open.
    pub(super) fn release(mut self) {
        drop(self.object.take());
    }

    pub(super) async fn rows(
        &self,
        statement: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let prepared = self.prepare_cached(statement).await?;
        self.query(&prepared, parameters).await
    }
}

impl std::ops::Deref for Session {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        self.object.as_ref().expect("a session holds its connection until it ends")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Outside of the pool the connection is closed when it is dropped.
        drop(self.object.take().map(Object::take));
    }
}
