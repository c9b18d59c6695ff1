//! Moves the bytes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{Faults, MessageDirection, PassingMessage, Shared, Verdict, resp};

const CHUNK_BYTES: usize = 64 * 1024;

/// Held by the kernel of what Redis sends. Little: what is not read piles up in Redis.
const RECEIVE_BYTES: u32 = 64 * 1024;

/// Until a wait has nothing to wait for; any time that outlasts a test does.
const FAR_AWAY: Duration = Duration::from_secs(3_600);

pub(super) async fn accept(listener: TcpListener, service: String, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        let mut number = 0;
        shared.faults.send_modify(|faults| {
            number = faults.connections;
            faults.connections += 1;
        });
        let (service, shared) = (service.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            // A Redis that is not there shows to the node as a connection that ends.
            if let Ok(far) = connect(&service).await {
                relay(near, far, number, &shared).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(service: &str) -> std::io::Result<TcpStream> {
    let target = tokio::net::lookup_host(service).await?.find(std::net::SocketAddr::is_ipv4);
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BYTES)?;
    socket.connect(target.ok_or(std::io::ErrorKind::NotFound)?).await
}

async fn relay(mut near: TcpStream, mut far: TcpStream, number: u64, shared: &Shared) {
    // Without it small messages would wait for each other. It fails only on a socket that has ended.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_read, near_write) = near.split();
    let (far_read, far_write) = far.split();
    let mut cut = shared.faults.subscribe();
    let mut requests = Way::new(MessageDirection::Published, number, shared);
    let mut answers = Way::new(MessageDirection::Delivered, number, shared);
    tokio::select! {
        // First, so that a cut lets nothing through that was stalled.
        biased;
        _ = cut.wait_for(|faults| number < faults.cut_below) => {
            // Fails only on a socket that has ended already.
            let _ = (near.set_zero_linger(), far.set_zero_linger());
        }
        () = requests.pass(near_read, far_write) => {}
        () = answers.pass(far_read, near_write) => {}
    }
}

/// One direction of one connection.
struct Way<'a> {
    direction: MessageDirection,
    number: u64,
    shared: &'a Shared,
    faults: watch::Receiver<Faults>,
    /// Read, and no whole value yet.
    received: Vec<u8>,
    /// What comes late, by when, in the order of arrival for the same moment.
    late: BTreeMap<(Instant, u64), Vec<u8>>,
    delayed: u64,
}

impl<'a> Way<'a> {
    fn new(direction: MessageDirection, number: u64, shared: &'a Shared) -> Self {
        let faults = shared.faults.subscribe();
        let (received, late) = (Vec::new(), BTreeMap::new());
        Self { direction, number, shared, faults, received, late, delayed: 0 }
    }

    /// Passes values on until one side ends.
    async fn pass(&mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            if self.until_open().await.is_none() {
                return;
            }
            let due = self.late.keys().next().map(|(due, _)| *due);
            let mut out = Vec::new();
            tokio::select! {
                read = from.read(&mut chunk) => {
                    let Ok(count @ 1..) = read else { return };
                    // Nothing is asked about messages that go nowhere.
                    if !self.is_dead() {
                        self.received.extend_from_slice(&chunk[..count]);
                        self.judge_received(&mut out);
                    }
                }
                () = sleep_until(due.unwrap_or_else(|| Instant::now() + FAR_AWAY)) => {}
                // Whether it may read on is asked at the start of the loop.
                changed = self.faults.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
            }
            self.take_due(&mut out);
            // What was read when the way was closed waits, or is swallowed.
            let is_open = self.until_open().await.is_some();
            if !is_open || (!self.is_dead() && to.write_all(&out).await.is_err()) {
                return;
            }
        }
    }

    /// Waits while the way is stalled. None: the proxy is gone.
    async fn until_open(&mut self) -> Option<()> {
        let is_delivery = self.direction == MessageDirection::Delivered;
        let stalls = |faults: &Faults| faults.stalls || (faults.stalls_deliveries && is_delivery);
        self.faults.wait_for(|faults| !stalls(faults)).await.ok().map(drop)
    }

    fn is_dead(&self) -> bool {
        self.number < self.faults.borrow().dead_below
    }

    /// Takes every whole value out of what arrived.
    fn judge_received(&mut self, out: &mut Vec<u8>) {
        let received = std::mem::take(&mut self.received);
        let mut taken = 0;
        while let Some(length) = resp::value_end(&received[taken..]) {
            let value = &received[taken..taken + length];
            taken += length;
            match (self.verdict(value), self.direction) {
                (Verdict::Drop, MessageDirection::Published) => {
                    out.extend_from_slice(resp::publish_to_nobody());
                }
                (Verdict::Drop, MessageDirection::Delivered) => {}
                (Verdict::Repeat, MessageDirection::Delivered) => {
                    out.extend_from_slice(value);
                    out.extend_from_slice(value);
                }
                (Verdict::Delay(delay), MessageDirection::Delivered) => {
                    self.delayed += 1;
                    self.late.insert((Instant::now() + delay, self.delayed), value.to_owned());
                }
                (Verdict::Pass, _) => out.extend_from_slice(value),
                (verdict, MessageDirection::Published) => {
                    panic!("{verdict:?} for a command that gets an answer")
                }
            }
        }
        self.received = received;
        self.received.drain(..taken);
    }

    fn verdict(&self, value: &[u8]) -> Verdict {
        let Some((channel, payload)) = resp::message(value, self.direction) else {
            return Verdict::Pass;
        };
        let channel = String::from_utf8_lossy(&value[channel]);
        self.shared.verdict(&PassingMessage {
            direction: self.direction,
            channel: &channel,
            payload: &value[payload],
        })
    }

    fn take_due(&mut self, out: &mut Vec<u8>) {
        let now = Instant::now();
        while let Some(entry) = self.late.first_entry().filter(|entry| entry.key().0 <= now) {
            out.extend(entry.remove());
        }
    }
}
