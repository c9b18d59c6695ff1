//! Awareness: how soon clients see each other move.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::Error;
use crate::client::{Client, MOVES_EVERY};
use crate::report::{self, Latencies};
use crate::target::Target;

/// Clients that see each other move, each once a second and all at different moments.
pub(crate) async fn run(
    target: &Target,
    clients: u32,
    duration: Duration,
) -> Result<String, Error> {
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
    sleep(MOVES_EVERY).await;
    let cpu = target.cpu();
    let started = Instant::now();
    sleep_until(end).await;
    let (elapsed, cpu) = (started.elapsed(), target.cpu_since(cpu));
    let mut latencies = Latencies::default();
    while let Some(done) = tasks.join_next().await {
        latencies.add(done.map_err(|error| Error::Answer(error.to_string()))??);
    }
    let title = format!("{clients} clients in one document, each moving once a second");
    Ok(report::load(&title, "moves seen", latencies, elapsed, cpu))
}
