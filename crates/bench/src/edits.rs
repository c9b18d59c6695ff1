//! Edits: how soon they are acknowledged, and how soon readers have them.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::client::Client;
use crate::report::{self, Latencies};
use crate::target::Target;

/// Many clients, each with a window of unacknowledged edits.
pub(crate) async fn acks(
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
pub(crate) async fn fan_out(
    target: &Target,
    documents: u32,
    readers: u32,
    window: u32,
    duration: Duration,
) -> Result<String, Error> {
    let mut listeners = JoinSet::new();
    let mut writers = Vec::new();
    let until = CancellationToken::new();
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
