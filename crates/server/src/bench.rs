//! The shipped benchmark: loads a server with raw clients and says what it did, so that an
//! operator can take the figures of `docs/benchmarks.md` on the own machine.
//!
//! Unless it is given a URL it starts a server of its own from this binary, with the storage that
//! environment and flags name, and stops it at the end; then it also knows the CPU it used.

mod client;
mod nodes;
mod report;
mod store;
mod target;
mod text;

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cli::{BenchFlags, BenchScenario};
use crate::config::Config;
use client::Client;
use report::Latencies;
use target::Target;

/// How long clients may take to connect and subscribe, and to hear their last answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// The length of a field of the document that clients join.
const JOIN_FIELD_KILOBYTES: u32 = 4;

/// How often a client of `bench presence` moves.
const MOVES_EVERY: Duration = Duration::from_secs(1);

/// Why a benchmark gave no figures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server did not start, or is not there.
    #[error("server: {0}")]
    Server(String),
    /// A connection failed.
    #[error("connection: {0}")]
    Connection(#[from] std::io::Error),
    /// The server said something that is no answer.
    #[error("answer: {0}")]
    Answer(String),
    /// It took longer than it may.
    #[error("no answer within {PATIENCE:?}")]
    Silent,
}

/// Runs one scenario and returns its report as text.
///
/// # Errors
/// [`Error`] when the server or a client failed; there is no report in part.
pub async fn run(flags: &BenchFlags, config: &Config) -> Result<String, Error> {
    let seconds = Duration::from_secs(flags.seconds.into());
    match &flags.scenario {
        BenchScenario::Store { stored, clients, writers, documents } => {
            let (stored, clients, duration) = (*stored, *clients, seconds);
            let load = store::Load { stored, clients, writers, documents, duration };
            store::run(&config.storage, &load).await
        }
        &BenchScenario::Acks { clients, window, documents } => {
            let target = Target::of(flags).await?;
            acks(&target, clients, window, documents.unwrap_or(clients), seconds).await
        }
        &BenchScenario::Fanout { documents, readers, window } => {
            let target = Target::of(flags).await?;
            fan_out(&target, documents, readers, window, seconds).await
        }
        &BenchScenario::Text { characters } => {
            text::run(&Target::of(flags).await?, characters, seconds).await
        }
        &BenchScenario::Presence { clients } => {
            presence(&Target::of(flags).await?, clients, seconds).await
        }
        &BenchScenario::Join { clients, kilobytes } => {
            join(&Target::of(flags).await?, clients, kilobytes).await
        }
        BenchScenario::Nodes { nodes, documents } => {
            if config.storage.redis.is_none() || flags.url.is_some() {
                let hint = "nodes are started by this command, with storage.redis.enabled=true";
                return Err(Error::Server(hint.to_owned()));
            }
            nodes::run(flags, nodes, *documents, seconds).await
        }
        &BenchScenario::Idle { connections } => idle(&Target::of(flags).await?, connections).await,
    }
}

/// Many clients, each with a window of unacknowledged edits.
async fn acks(
    target: &Target,
    clients: u32,
    window: u32,
    documents: u32,
    duration: Duration,
) -> Result<String, Error> {
    let mut tasks = JoinSet::new();
    let mut connected = Vec::new();
    for n in 0..clients {
        let document = format!("bench-{}-{}", target.run(), n % documents.max(1));
        connected.push(Client::connect(target.address(), &document, n).await?);
    }
    let cpu = target.cpu();
    let started = Instant::now();
    for client in connected {
        tasks.spawn(client.write_for(window, started + duration));
    }
    let mut latencies = Latencies::default();
    while let Some(done) = tasks.join_next().await {
        latencies.add(done.map_err(|error| Error::Answer(error.to_string()))??.acks);
    }
    let elapsed = started.elapsed();
    let title =
        format!("{clients} clients, {window} unacknowledged edits each, {documents} documents");
    Ok(report::load(&title, "acknowledged edits", latencies, elapsed, target.cpu_since(cpu)))
}

/// One writer a document, many readers each.
async fn fan_out(
    target: &Target,
    documents: u32,
    readers: u32,
    window: u32,
    duration: Duration,
) -> Result<String, Error> {
    let mut listeners = JoinSet::new();
    let mut writers = Vec::new();
    let until = tokio_util::sync::CancellationToken::new();
    for d in 0..documents {
        let document = format!("bench-{}-{d}", target.run());
        for r in 0..readers {
            let reader = Client::connect(target.address(), &document, d * readers + r).await?;
            listeners.spawn(reader.read_until(until.clone()));
        }
        writers.push(Client::connect(target.address(), &document, 1_000_000 + d).await?);
    }
    let cpu = target.cpu();
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for writer in writers {
        tasks.spawn(writer.write_for(window, started + duration));
    }
    let mut deliveries = Latencies::default();
    while let Some(done) = tasks.join_next().await {
        deliveries.add(done.map_err(|error| Error::Answer(error.to_string()))??.deliveries);
    }
    let elapsed = started.elapsed();
    until.cancel();
    while let Some(done) = listeners.join_next().await {
        deliveries.add(done.map_err(|error| Error::Answer(error.to_string()))??);
    }
    let title = format!(
        "{documents} documents, each 1 writer with {window} unacknowledged edits and {readers} readers"
    );
    Ok(report::load(&title, "deliveries", deliveries, elapsed, target.cpu_since(cpu)))
}

/// Many clients that join one document at the same moment, as after a restart.
async fn join(target: &Target, clients: u32, kilobytes: u32) -> Result<String, Error> {
    let document = format!("bench-{}", target.run());
    let fields = u64::from(kilobytes.div_ceil(JOIN_FIELD_KILOBYTES).max(1));
    let mut writer = Client::connect(target.address(), &document, clients).await?;
    for field in 0..fields {
        let put = writer.put(field, JOIN_FIELD_KILOBYTES as usize * 1_000);
        tokio::time::timeout(PATIENCE, put).await.map_err(|_| Error::Silent)??;
    }
    let mut connected = Vec::new();
    for n in 0..clients {
        connected.push(Client::open(target.address(), &document, n).await?);
    }
    let cpu = target.cpu();
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for client in connected {
        tasks.spawn(tokio::time::timeout(PATIENCE, client.join(fields)));
    }
    let mut latencies = Latencies::default();
    while let Some(done) = tasks.join_next().await {
        let done = done.map_err(|error| Error::Answer(error.to_string()))?;
        latencies.add(vec![done.map_err(|_| Error::Silent)??]);
    }
    let elapsed = started.elapsed();
    let title = format!("{clients} clients that join one document of {kilobytes} kB at once");
    Ok(report::load(&title, "whole documents", latencies, elapsed, target.cpu_since(cpu)))
}

/// Clients that see each other move, each once a second and all at different moments.
async fn presence(target: &Target, clients: u32, duration: Duration) -> Result<String, Error> {
    let document = format!("bench-{}", target.run());
    let mut connected = Vec::new();
    for n in 0..clients {
        connected.push(Client::connect(target.address(), &document, n).await?);
    }
    let end = Instant::now() + MOVES_EVERY + duration;
    let mut tasks = JoinSet::new();
    for (n, client) in (0..).zip(connected) {
        tasks.spawn(client.move_until(MOVES_EVERY * n / clients.max(1), end));
    }
    // The first round is when everybody hears of everybody.
    tokio::time::sleep(MOVES_EVERY).await;
    let cpu = target.cpu();
    let started = Instant::now();
    tokio::time::sleep_until(end).await;
    let (elapsed, cpu) = (started.elapsed(), target.cpu_since(cpu));
    let mut latencies = Latencies::default();
    while let Some(done) = tasks.join_next().await {
        latencies.add(done.map_err(|error| Error::Answer(error.to_string()))??);
    }
    let title = format!("{clients} clients in one document, each moving once a second");
    Ok(report::load(&title, "moves seen", latencies, elapsed, cpu))
}

/// Connections that subscribe and then do nothing: what memory does one take?
async fn idle(target: &Target, connections: u32) -> Result<String, Error> {
    let before = target.resident_bytes();
    let started = Instant::now();
    let mut open = Vec::new();
    for n in 0..connections {
        let document = format!("bench-{}-{}", target.run(), n % 100);
        open.push(Client::connect(target.address(), &document, n).await?);
    }
    let elapsed = started.elapsed();
    let after = target.resident_bytes();
    Ok(report::idle(connections, elapsed, before.zip(after)))
}
