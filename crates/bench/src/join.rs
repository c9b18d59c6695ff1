//! Joins: how soon many clients have one large document.

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::client::Client;
use crate::report::{self, Latencies};
use crate::target::Target;
use crate::{Error, PATIENCE};

/// The length of a field of the document that clients join.
const FIELD_KILOBYTES: u32 = 4;

/// Many clients that join one document at the same moment, as after a restart.
pub(crate) async fn run(target: &Target, clients: u32, kilobytes: u32) -> Result<String, Error> {
    let document = format!("bench-{}", target.run());
    let fields = u64::from(kilobytes.div_ceil(FIELD_KILOBYTES).max(1));
    let mut writer = Client::connect(target.address(), &document, clients).await?;
    for field in 0..fields {
        let put = writer.put(field, FIELD_KILOBYTES as usize * 1_000);
        timeout(PATIENCE, put).await.map_err(|_| Error::Silent)??;
    }
    let mut connected = Vec::new();
    for n in 0..clients {
        connected.push(Client::open(target.address(), &document, n).await?);
    }
    let cpu = target.cpu();
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for client in connected {
        tasks.spawn(timeout(PATIENCE, client.join(fields)));
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
