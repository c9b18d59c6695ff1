//! The store by itself: group commit, loading, compaction, without sockets.
//!
//! A server does not call its store as it is: it gathers what documents have to store, and reads
//! them in pages. That way is measured with it, so whoever runs this brings it along.

use std::fmt::Write as _;
use std::time::Duration;

use synckit_client::now_millis;
use synckit_engine::clock::EditNumber;
use synckit_engine::delta::{Change, Delta, WriteKey};
use synckit_engine::ids::{ClientId, DocumentId, FieldName, InvalidName};
use synckit_engine::json::JsonText;
use synckit_engine::snapshot::Snapshot;
use synckit_store::{
    Append, DocumentStore, OpenError, StorageProvider, StoreError, StoredSnapshot,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Error;
use crate::report::Latencies;
use crate::target::run_name;

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

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        Self::Server(error.to_string())
    }
}

impl From<InvalidName> for Error {
    fn from(error: InvalidName) -> Self {
        Self::Server(error.to_string())
    }
}

/// The server's way to its store.
pub trait Path: Clone + Send + Sync + 'static {
    /// Stores a delta, together with what else is to be stored then.
    fn store(
        &self,
        document: DocumentId,
        delta: Delta,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Reads a document.
    fn load(&self, document: &DocumentId) -> impl Future<Output = Result<Snapshot, Error>> + Send;
}

/// What is measured.
#[derive(Debug)]
pub struct Load<'a> {
    /// Documents that are there before.
    pub stored: u64,
    /// Clients that have written to each document before.
    pub clients: u64,
    /// Numbers of concurrent writers.
    pub writers: &'a [u64],
    /// Numbers of documents that they write to.
    pub documents: &'a [u64],
    /// For how long, for each combination.
    pub duration: Duration,
}

/// Measures a store that is open, through so many lanes of `path`; it keeps what is written.
///
/// # Errors
/// [`Error`] when the store failed; there is no report in part.
pub async fn run(
    provider: &dyn StorageProvider,
    lanes: usize,
    path: &impl Path,
    load: &Load<'_>,
) -> Result<String, Error> {
    let run = run_name();
    let mut report = format!("store {}, {lanes} lanes\n", provider.name());
    fill(provider.documents(), &run, load.stored).await?;
    let (stored, clients) = (load.stored, load.clients);
    let _ = writeln!(report, "  {stored} documents stored before, {clients} clients of each");
    for &documents in load.documents {
        for &writers in load.writers {
            let name = format!("{run}-{documents}-{writers}");
            age(provider.documents(), &name, documents, load.clients).await?;
            let (latencies, elapsed) =
                write(path, &name, writers, documents, load.duration).await?;
            report.push_str(
                &latencies
                    .line(&format!("{writers:>3} writers, {documents:>4} documents"), elapsed),
            );
        }
    }
    history(provider.documents(), path, &run, &mut report).await?;
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
    path: &impl Path,
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
        let path = path.clone();
        let name = name.to_owned();
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            let mut counter = 0;
            while Instant::now() < end {
                counter += 1;
                let at = (writer + counter % own.max(1) * writers) % documents;
                let document = DocumentId::new(&format!("{name}-{at}"))?;
                let sent = std::time::Instant::now();
                path.store(document, delta(&client, counter)?).await?;
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

/// Loading a long history, and what a snapshot and compaction make of it.
async fn history(
    store: &dyn DocumentStore,
    path: &impl Path,
    run: &str,
    report: &mut String,
) -> Result<(), Error> {
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
            let (path, document) = (path.clone(), document.clone());
            let started = std::time::Instant::now();
            let load = async move { path.load(&document).await };
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
    let snapshot = path.load(&document).await?;
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
