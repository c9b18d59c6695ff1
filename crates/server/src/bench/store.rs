//! The store by itself: group commit, loading, compaction, without sockets.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use synckit_engine::clock::EditNumber;
use synckit_engine::delta::{Change, Delta, WriteKey};
use synckit_engine::ids::{ClientId, DocumentId, FieldName, InvalidName};
use synckit_engine::json::JsonText;
use synckit_engine::room::{Input, TicketId};
use synckit_store::{Append, DocumentStore, StorageProvider, StoreError, StoredSnapshot};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::Error;
use super::report::Latencies;
use crate::committer::{Committer, Ticket};
use crate::config;
use crate::loader;
use crate::storage;
use crate::time::now_millis;

/// Deltas of the document whose loading is measured.
const LONG_HISTORY: u64 = 10_000;

/// Documents made in one append while the store is filled.
const FILL_BATCH: u64 = 500;

/// How often a short thing is measured; the median counts.
const TRIES: usize = 5;

/// Makes a delta's data about 300 bytes long.
const VALUE_BYTES: usize = 270;

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Server(error.to_string())
    }
}

impl From<InvalidName> for Error {
    fn from(error: InvalidName) -> Self {
        Self::Server(error.to_string())
    }
}

/// What is measured.
pub(super) struct Load<'a> {
    /// Documents that are there before.
    pub(super) stored: u64,
    /// Clients that have written to each document before.
    pub(super) clients: u64,
    /// Numbers of concurrent writers.
    pub(super) writers: &'a [u64],
    /// Numbers of documents that they write to.
    pub(super) documents: &'a [u64],
    /// For how long, for each combination.
    pub(super) duration: Duration,
}

/// Measures the configured store, which keeps what is written.
pub(super) async fn run(config: &config::StorageConfig, load: &Load<'_>) -> Result<String, Error> {
    let storage = storage::from_config(&config.provider)?;
    let provider = storage.provider;
    provider.initialize().await?;
    let run = super::target::run_name();
    let mut report = format!("store {}, {} lanes\n", provider.name(), storage.lanes);
    fill(provider.documents(), &run, load.stored).await?;
    let (stored, clients) = (load.stored, load.clients);
    let _ = writeln!(report, "  {stored} documents stored before, {clients} clients of each");
    let tasks = TaskTracker::new();
    let committer = Committer::start(&provider, storage.lanes, config.write_hold, &tasks);
    for &documents in load.documents {
        for &writers in load.writers {
            let name = format!("{run}-{documents}-{writers}");
            age(provider.documents(), &name, documents, load.clients).await?;
            let (latencies, elapsed) =
                write(&committer, &name, writers, documents, load.duration).await?;
            report.push_str(
                &latencies
                    .line(&format!("{writers:>3} writers, {documents:>4} documents"), elapsed),
            );
        }
    }
    history(&provider, &run, &mut report).await?;
    Ok(report)
}

/// One delta, as the server makes it of a client's edit.
fn delta(client: &ClientId, counter: u64) -> Result<Delta, Error> {
    let value = format!("\"{}\"", "x".repeat(VALUE_BYTES));
    let value = JsonText::parse(&value).map_err(|error| Error::Server(error.to_string()))?;
    let field = FieldName::new(&format!("f{}", counter % 64))?;
    let timestamp = now_millis();
    let key = WriteKey { timestamp, number: EditNumber(counter), client: client.clone() };
    Ok(Delta::of(&key, vec![(field, Change::Set(value))].into()))
}

async fn fill(store: &dyn DocumentStore, run: &str, count: u64) -> Result<(), Error> {
    let client = ClientId::new("bench-fill")?;
    let mut made = 0;
    while made < count {
        let end = count.min(made + FILL_BATCH);
        let batch = (made..end)
            .map(|n| {
                let document = DocumentId::new(&format!("fill-{run}-{n}"))?;
                Ok(Append { document, deltas: vec![delta(&client, 1)?] })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        store.append(&batch).await?;
        made = end;
    }
    Ok(())
}

/// Has one delta of each of `clients` stored in each document.
async fn age(
    store: &dyn DocumentStore,
    name: &str,
    documents: u64,
    clients: u64,
) -> Result<(), Error> {
    for at in 0..documents {
        let document = DocumentId::new(&format!("{name}-{at}"))?;
        let mut first = 0;
        while first < clients {
            let end = clients.min(first + FILL_BATCH);
            let deltas = (first..end)
                .map(|client| delta(&ClientId::new(&format!("before-{client}"))?, 1))
                .collect::<Result<Vec<_>, Error>>()?;
            store.append(&[Append { document: document.clone(), deltas }]).await?;
            first = end;
        }
    }
    Ok(())
}

/// Writers that each wait for the store before their next delta.
async fn write(
    committer: &Committer,
    name: &str,
    writers: u64,
    documents: u64,
    duration: Duration,
) -> Result<(Latencies, Duration), Error> {
    let started = Instant::now();
    let end = started + duration;
    let mut tasks = JoinSet::new();
    // Each goes round its share of the documents.
    let own = documents.div_ceil(writers.max(1));
    for writer in 0..writers {
        let client = ClientId::new(&format!("bench-{writer}"))?;
        let committer = committer.clone();
        let name = name.to_owned();
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            let mut counter = 0;
            while Instant::now() < end {
                counter += 1;
                let at = (writer + counter % own.max(1) * writers) % documents;
                let document = DocumentId::new(&format!("{name}-{at}"))?;
                let sent = std::time::Instant::now();
                store_one(&committer, document, delta(&client, counter)?).await?;
                latencies.push(sent.elapsed());
            }
            Ok::<_, Error>(latencies)
        });
    }
    let mut latencies = Latencies::default();
    while let Some(done) = tasks.join_next().await {
        latencies.add(done.map_err(|error| Error::Answer(error.to_string()))??);
    }
    Ok((latencies, started.elapsed()))
}

async fn store_one(committer: &Committer, document: DocumentId, delta: Delta) -> Result<(), Error> {
    let (reply, mut answers) = mpsc::channel(1);
    let ticket = Ticket {
        document: document.clone(),
        id: TicketId(1),
        deltas: vec![delta],
        since: Instant::now(),
        reply,
    };
    committer
        .lane(&document)
        .send(ticket)
        .await
        .map_err(|_| Error::Server("the lane ended".to_owned()))?;
    match answers.recv().await {
        Some(Input::Stored { .. }) => Ok(()),
        other => Err(Error::Answer(format!("not stored: {other:?}"))),
    }
}

/// Loading a long history, and what a snapshot and compaction make of it.
async fn history(
    provider: &Arc<dyn StorageProvider>,
    run: &str,
    report: &mut String,
) -> Result<(), Error> {
    let store = provider.documents();
    let document = DocumentId::new(&format!("history-{run}"))?;
    let client = ClientId::new("bench-history")?;
    for batch in 0..LONG_HISTORY / FILL_BATCH {
        let first = batch * FILL_BATCH + 1;
        let deltas = (first..first + FILL_BATCH)
            .map(|counter| delta(&client, counter))
            .collect::<Result<Vec<_>, Error>>()?;
        store.append(&[Append { document: document.clone(), deltas }]).await?;
    }
    let mut load = async |what: &str| {
        let mut times = Vec::with_capacity(TRIES);
        for _ in 0..TRIES {
            // In a task, as the server does it.
            let mut task = JoinSet::new();
            let (provider, document) = (Arc::clone(provider), document.clone());
            let started = std::time::Instant::now();
            let load = async move { loader::load(provider.documents(), &document).await };
            task.spawn(load);
            task.join_all().await.into_iter().try_for_each(|loaded| loaded.map(drop))?;
            times.push(started.elapsed());
        }
        times.sort_unstable();
        let median = times[TRIES / 2].as_secs_f64() * 1e3;
        let _ = writeln!(report, "  load of {what}: {median:.2} ms");
        Ok::<_, Error>(())
    };
    load("10,000 deltas").await?;
    let snapshot = loader::load(store, &document).await?.snapshot;
    let (clock, position) = (snapshot.document.clock().clone(), snapshot.position);
    let bytes = snapshot.encode().map_err(|error| Error::Server(error.to_string()))?;
    let started = std::time::Instant::now();
    let stored = StoredSnapshot { bytes, clock: clock.clone(), position };
    store.save_snapshot(&document, &stored).await?;
    let saved = started.elapsed().as_secs_f64() * 1e3;
    let started = std::time::Instant::now();
    store.compact(&document, &clock, None).await?;
    let compacted = started.elapsed().as_secs_f64() * 1e3;
    load("the same from its snapshot").await?;
    let _ = writeln!(
        report,
        "  snapshot stored in {saved:.2} ms, 10,000 deltas removed in {compacted:.2} ms"
    );
    Ok(())
}
