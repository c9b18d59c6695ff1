//! Work with one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use deadpool_postgres::{ClientWrapper, Object};
use futures_util::TryStreamExt;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::error::StoreError;

use super::cancel::Canceller;
use super::statements::Statement;

pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

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
    pub(super) fn new(
        object: Object,
        begin_pooled: Option<Arc<str>>,
        canceller: Canceller,
    ) -> Self {
        Self { object: Some(object), begin_pooled, unanswered: AtomicU32::new(0), canceller }
    }

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
    pub(super) async fn read_rows<T>(
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
