//! Connections that do nothing: what memory they take.

use tokio::time::Instant;

use crate::Error;
use crate::client::Client;
use crate::report;
use crate::target::Target;

/// Connections that subscribe and then do nothing: what memory does one take?
pub(crate) async fn run(target: &Target, connections: u32) -> Result<String, Error> {
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
