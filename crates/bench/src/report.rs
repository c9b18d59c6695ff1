//! What was measured, as text.

use std::time::Duration;

/// How long things took.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn add(&mut self, mut more: Vec<Duration>) {
        self.0.append(&mut more);
    }

    /// One line of a table.
    pub(crate) fn line(mut self, what: &str, elapsed: Duration) -> String {
        self.0.sort_unstable();
        let [p50, p99] = [500, 990].map(|of_1000| self.percentile(of_1000));
        let rate = rate(self.0.len(), elapsed);
        format!("  {what}: {rate:>7.0} deltas/s, p50 {p50:.2} ms, p99 {p99:.2} ms\n")
    }

    /// In milliseconds; the list is sorted.
    fn percentile(&self, of_1000: usize) -> f64 {
        let at = (self.0.len() * of_1000 / 1_000).min(self.0.len().saturating_sub(1));
        self.0.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1_000.0)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
fn rate(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// The figures of a load.
pub(crate) fn load(
    title: &str,
    what: &str,
    mut latencies: Latencies,
    elapsed: Duration,
    cpu: Option<Duration>,
) -> String {
    latencies.0.sort_unstable();
    let count = latencies.0.len();
    let seconds = elapsed.as_secs_f64();
    let rate = rate(count, elapsed);
    let each = cpu.map(|cpu| cpu / u32::try_from(count.max(1)).unwrap_or(u32::MAX));
    let cpu = match each {
        Some(each) => format!("{:.2} us of server CPU each", each.as_secs_f64() * 1e6),
        None => "server CPU not known (give --pid)".to_owned(),
    };
    let [p50, p99, p999] = [500, 990, 999].map(|of_1000| latencies.percentile(of_1000));
    format!(
        "{title}\n  {count} {what} in {seconds:.1} s: {rate:.0}/s, {cpu}\n  \
         latency ms: p50 {p50:.2}, p99 {p99:.2}, p99.9 {p999:.2}\n"
    )
}

/// The figures of connections that do nothing.
pub(crate) fn idle(connections: u32, elapsed: Duration, resident: Option<(u64, u64)>) -> String {
    let memory = match resident {
        Some((before, after)) => format!(
            "{} bytes of server memory each ({before} before, {after} after)",
            after.saturating_sub(before) / u64::from(connections.max(1))
        ),
        None => "server memory not known (give --pid)".to_owned(),
    };
    let seconds = elapsed.as_secs_f64();
    let rate = f64::from(connections) / seconds;
    format!(
        "{connections} idle subscribed connections\n  opened in {seconds:.1} s ({rate:.0}/s)\n  {memory}\n"
    )
}
