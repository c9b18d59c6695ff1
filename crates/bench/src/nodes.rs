//! Several nodes: how much later another node shows an edit, and what each node more costs.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::report::Latencies;
use crate::target::Target;
use crate::{Error, Servers};

/// Unacknowledged edits of each writer: one to see the latency, many to see the throughput.
const WINDOWS: [u32; 2] = [1, 32];

/// Every document has a writer on one of the nodes, in turn, and a reader on each of them.
pub(crate) async fn run(
    program: &Servers,
    nodes: &[u32],
    documents: u32,
    duration: Duration,
) -> Result<String, Error> {
    let mut report = format!("{documents} documents, each 1 writer and a reader on every node\n");
    for &count in nodes {
        let mut servers = Vec::new();
        for _ in 0..count {
            servers.push(Target::start(program).await?);
        }
        for window in WINDOWS {
            report.push_str(&load(&servers, documents, window, duration).await?);
        }
    }
    Ok(report)
}

async fn load(
    servers: &[Target],
    documents: u32,
    window: u32,
    duration: Duration,
) -> Result<String, Error> {
    let stop = CancellationToken::new();
    let (mut same_node, mut other_node) = (JoinSet::new(), JoinSet::new());
    let mut writers = Vec::new();
    let mut number = 0;
    for (at, home) in (0..documents).zip(servers.iter().cycle()) {
        let document = format!("bench-{}-{window}-{at}", servers[0].run());
        for server in servers {
            number += 1;
            let reader = Client::connect(server.address(), &document, number).await?;
            let is_home = server.address() == home.address();
            let readers = if is_home { &mut same_node } else { &mut other_node };
            readers.spawn(reader.read_until(stop.clone()));
        }
        number += 1;
        writers.push(Client::connect(home.address(), &document, number).await?);
    }
    let before: Vec<_> = servers.iter().map(Target::cpu).collect();
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for writer in writers {
        tasks.spawn(writer.write_for(window, started + duration));
    }
    let mut acks = Vec::new();
    while let Some(done) = tasks.join_next().await {
        acks.append(&mut done.map_err(|error| Error::Answer(error.to_string()))??.acks);
    }
    let elapsed = started.elapsed();
    let cpu: Duration =
        servers.iter().zip(before).filter_map(|(server, before)| server.cpu_since(before)).sum();
    stop.cancel();
    let nodes = u32::try_from(servers.len()).unwrap_or(u32::MAX);
    let edits = u32::try_from(acks.len().max(1)).unwrap_or(u32::MAX);
    let mut out = format!("{nodes} nodes, {window} unacknowledged edits each\n");
    for (what, latencies) in [
        ("acknowledged           ", acks),
        ("shown on the same node ", collect(same_node).await?),
        ("shown on another node  ", collect(other_node).await?),
    ] {
        if !latencies.is_empty() {
            let mut all = Latencies::default();
            all.add(latencies);
            out.push_str(&all.line(what, elapsed));
        }
    }
    let _ = writeln!(
        out,
        "  server CPU per edit: {:.1} us on all nodes, {:.1} us on each",
        (cpu / edits).as_secs_f64() * 1e6,
        (cpu / edits / nodes.max(1)).as_secs_f64() * 1e6,
    );
    Ok(out)
}

async fn collect(
    mut readers: JoinSet<Result<Vec<Duration>, Error>>,
) -> Result<Vec<Duration>, Error> {
    let mut all = Vec::new();
    while let Some(done) = readers.join_next().await {
        all.append(&mut done.map_err(|error| Error::Answer(error.to_string()))??);
    }
    Ok(all)
}
