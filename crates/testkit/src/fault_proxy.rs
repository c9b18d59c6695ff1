//! A TCP relay between a program and the service it uses, which loses what it is told to lose.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

const CHUNK_BYTES: usize = 64 * 1024;

/// Listens on a loopback port and relays every connection to one service. Ends with the value.
pub struct FaultProxy {
    port: u16,
    faults: watch::Sender<Faults>,
    service: watch::Sender<String>,
    /// Aborts the relay when it is dropped.
    _relay: JoinSet<()>,
}

#[derive(Clone, Copy, Default)]
struct Faults {
    loses_answers: bool,
    stalls: bool,
    answer_delay: Duration,
    /// How often all connections were cut.
    cuts: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Requests,
    Answers,
}

impl FaultProxy {
    /// `service` is `host:port`.
    ///
    /// # Panics
    /// When no loopback port is free.
    pub async fn start(service: impl Into<String>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("the loopback interface has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let (faults, watched) = watch::channel(Faults::default());
        let (service, services) = watch::channel(service.into());
        let mut relay = JoinSet::new();
        relay.spawn(accept(listener, services, watched));
        Self { port, faults, service, _relay: relay }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// New connections lead to another service, `host:port`, as after a failover behind one
    /// address. Those that are there stay; [`Self::cut`] ends them.
    pub fn lead_to(&self, service: impl Into<String>) {
        self.service.send_replace(service.into());
    }

    /// From now on the service hears everything and what it says is thrown away.
    pub fn lose_answers(&self) {
        self.faults.send_modify(|faults| faults.loses_answers = true);
    }

    /// From now on every piece of an answer comes this much later.
    pub fn delay_answers(&self, delay: Duration) {
        self.faults.send_modify(|faults| faults.answer_delay = delay);
    }

    /// From now on nothing passes in either direction; connections stay as they are.
    pub fn stall(&self) {
        self.faults.send_modify(|faults| faults.stalls = true);
    }

    /// No more faults. What was stalled goes on, even of programs that have given up meanwhile; what
    /// was lost stays lost.
    pub fn heal(&self) {
        self.faults
            .send_modify(|faults| *faults = Faults { cuts: faults.cuts, ..Faults::default() });
    }

    /// Resets all connections, and then no more faults: new connections work.
    pub fn cut(&self) {
        self.faults
            .send_modify(|faults| *faults = Faults { cuts: faults.cuts + 1, ..Faults::default() });
    }
}

async fn accept(
    listener: TcpListener,
    service: watch::Receiver<String>,
    faults: watch::Receiver<Faults>,
) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        // Before the connection is made, so that a cut in between is not missed.
        let cuts = faults.borrow().cuts;
        let (service, faults) = (service.borrow().clone(), faults.clone());
        connections.spawn(async move {
            // A service that is not there shows to the program as a connection that ends.
            if let Ok(far) = TcpStream::connect(service).await {
                relay(near, far, cuts, faults).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn relay(
    mut near: TcpStream,
    mut far: TcpStream,
    cuts: u64,
    faults: watch::Receiver<Faults>,
) {
    // Without it small messages would wait for each other. It fails only on a socket that has ended.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_read, near_write) = near.split();
    let (far_read, far_write) = far.split();
    let mut cut = faults.clone();
    tokio::select! {
        // First, so that a cut lets nothing through that was stalled.
        biased;
        _ = cut.wait_for(|faults| faults.cuts != cuts) => {
            // Fails only on a socket that has ended already.
            let _ = (near.set_zero_linger(), far.set_zero_linger());
        }
        () = pass(near_read, far_write, Direction::Requests, faults.clone()) => {}
        () = pass(far_read, near_write, Direction::Answers, faults) => {}
    }
}

/// Passes bytes on until one side ends.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    mut faults: watch::Receiver<Faults>,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        // Fails when the proxy is gone, and then this ends too.
        let Ok(now) = faults.wait_for(|faults| !faults.stalls).await.map(|faults| *faults) else {
            return;
        };
        if direction == Direction::Answers {
            if now.loses_answers {
                continue;
            }
            tokio::time::sleep(now.answer_delay).await;
        }
        if to.write_all(&chunk[..count]).await.is_err() {
            return;
        }
    }
}
