//! A TCP relay between one node and Redis that understands just enough of RESP to treat a published
//! message as a whole: lose it, repeat it, or let it come late.

mod relay;
mod resp;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Listens on a loopback port and relays every connection to one Redis. Ends with the value.
pub struct RedisProxy {
    port: u16,
    shared: Arc<Shared>,
    /// Aborts the relay when it is dropped.
    _relay: JoinSet<()>,
}

/// A message on its way through the proxy.
#[derive(Debug)]
pub struct PassingMessage<'a> {
    pub direction: MessageDirection,
    pub channel: &'a str,
    pub payload: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageDirection {
    /// From the node: a command that Redis answers. It can be passed or dropped.
    Published,
    /// To the node.
    Delivered,
}

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Drop,
    /// It comes twice.
    Repeat,
    /// What comes after it passes it by.
    Delay(Duration),
}

type Judge = Box<dyn FnMut(&PassingMessage<'_>) -> Verdict + Send>;

struct Shared {
    judge: Mutex<Option<Judge>>,
    /// Messages that something was done to.
    hits: watch::Sender<u64>,
    faults: watch::Sender<Faults>,
}

/// What is wrong with the connections, rather than with single messages.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    stalls: bool,
    stalls_deliveries: bool,
    /// Connections with a lower number are dead without knowing it.
    dead_below: u64,
    /// Connections with a lower number are reset.
    cut_below: u64,
    /// How many connections there were.
    connections: u64,
}

impl RedisProxy {
    /// `service` is `host:port`.
    ///
    /// # Panics
    /// When no loopback port is free.
    pub async fn start(service: impl Into<String>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("the loopback interface has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let shared = Arc::new(Shared {
            judge: Mutex::new(None),
            hits: watch::Sender::new(0),
            faults: watch::Sender::new(Faults::default()),
        });
        let mut relay = JoinSet::new();
        relay.spawn(relay::accept(listener, service.into(), Arc::clone(&shared)));
        Self { port, shared, _relay: relay }
    }

    /// `host:port`
    pub fn address(&self) -> String {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)).to_string()
    }

    /// Asks this about every message from now on, instead of what was asked before.
    pub fn judge(&self, judge: impl FnMut(&PassingMessage<'_>) -> Verdict + Send + 'static) {
        *self.shared.judge.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(judge));
    }

    /// Every message passes from now on. Those that were delayed still come late.
    pub fn pass_all(&self) {
        *self.shared.judge.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How many messages did not just pass so far.
    pub fn hits(&self) -> u64 {
        *self.shared.hits.borrow()
    }

    /// Waits until so many messages did not just pass. Without a deadline: the caller has one.
    ///
    /// # Panics
    /// Never: the value outlives the wait.
    pub async fn until_hits(&self, count: u64) {
        let mut hits = self.shared.hits.subscribe();
        hits.wait_for(|hits| *hits >= count).await.expect("the proxy holds the sender");
    }

    /// From now on nothing passes in either direction, on any connection, old or new. Nothing is
    /// lost: as when the network in between is away and TCP sends again.
    pub fn stall(&self) {
        self.shared.faults.send_modify(|faults| faults.stalls = true);
    }

    /// From now on nothing is read of what Redis sends, so that it piles up there.
    pub fn stall_deliveries(&self) {
        self.shared.faults.send_modify(|faults| faults.stalls_deliveries = true);
    }

    /// The connections of now swallow everything in both directions and never end; new ones work.
    /// As when something in between has forgotten them.
    pub fn make_half_open(&self) {
        self.shared.faults.send_modify(|faults| faults.dead_below = faults.connections);
    }

    /// Resets the connections of now; new ones work.
    pub fn cut(&self) {
        self.shared.faults.send_modify(|faults| faults.cut_below = faults.connections);
    }

    /// What was stalled goes on. Connections that are dead stay dead.
    pub fn go_on(&self) {
        self.shared.faults.send_modify(|faults| {
            faults.stalls = false;
            faults.stalls_deliveries = false;
        });
    }
}

impl Shared {
    fn verdict(&self, message: &PassingMessage<'_>) -> Verdict {
        let mut judge = self.judge.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = judge.as_mut().map_or(Verdict::Pass, |judge| judge(message));
        drop(judge);
        if verdict != Verdict::Pass {
            self.hits.send_modify(|hits| *hits += 1);
        }
        verdict
    }
}
