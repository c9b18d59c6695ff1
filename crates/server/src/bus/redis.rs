//! The bus through Redis: one channel for the edits and one for the awareness of every document
//! that is open, and one for the nodes.
//!
//! One task holds the link. Everything that looks like an interruption (a connection that ends, a
//! ping without an answer, a cluster that moved its slots) throws the link away and makes another
//! one, subscribes to everything again and then says [`BusEvent::Resumed`]. There is no other way
//! back, so there is one to be tested.

mod driver;
mod link;
mod outbox;
#[cfg(test)]
mod tests;
mod topics;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use synckit_engine::ids::{DocumentId, NodeId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::link::Link as RedisLink;
use self::outbox::Outbox;
use self::topics::{Subscription, Topics};
use self::wire::{Name, Names};
use super::{Bus, BusEvent, Channel, Events, Link};
use crate::config::RedisEndpoint;

/// How to reach the other nodes through Redis. Whether the server belongs to a cluster is asked of
/// the server.
#[derive(Debug, Clone)]
pub(crate) struct RedisOptions {
    /// Where Redis is; for a cluster any of its nodes.
    pub(crate) endpoint: RedisEndpoint,
    /// Put before the name of every channel, so that several communities can share a Redis.
    pub(crate) prefix: String,
    /// Certificates to trust in place of the machine's, which SSL_CERT_FILE can name too.
    pub(crate) roots_pem: Option<Vec<u8>>,
}

impl RedisOptions {
    /// Trusts what the machine trusts.
    pub(crate) fn new(endpoint: RedisEndpoint, prefix: impl Into<String>) -> Self {
        Self { endpoint, prefix: prefix.into(), roots_pem: None }
    }
}

/// Why the bus cannot work as configured. A Redis that does not answer is no such reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BusError {
    /// No or a wrong password.
    #[error(
        "Redis refused the login ({0}): check the user and the password in \
         STORAGE__REDIS__CONNECTIONSTRING"
    )]
    Login(String),
    /// The access control list misses something.
    #[error(
        "the Redis user lacks a permission ({0}): it needs +publish +subscribe +unsubscribe +ping \
         (for a cluster +spublish +ssubscribe +sunsubscribe +ping +cluster|slots) and \
         &PREFIX* for the prefix in STORAGE__REDIS__CHANNELPREFIX"
    )]
    Permission(String),
    /// No protocol version 3.
    #[error("Redis is too old: version 6 or later is needed, for a cluster version 7")]
    TooOld,
    /// Nothing to check a certificate with.
    #[error(
        "the certificates to trust cannot be read ({0}): install ca-certificates, or name a file \
         with SSL_CERT_FILE"
    )]
    Roots(String),
}

/// A node's link to the others through Redis.
pub(crate) struct RedisBus {
    shared: Arc<Shared>,
}

/// What the bus, the task that holds the link, and the connections have in common.
struct Shared {
    options: RedisOptions,
    names: Names,
    node: NodeId,
    events: Events,
    topics: Topics,
    outbox: Outbox,
    state: Mutex<State>,
    /// Messages that found no place.
    dropped: AtomicU64,
    /// Messages that were of no known form.
    ignored: AtomicU64,
    closing: CancellationToken,
    closed: CancellationToken,
}

enum State {
    Up(RedisLink),
    Down(String),
}

impl RedisBus {
    /// Connects, or goes on trying in the background when Redis is not there.
    ///
    /// # Errors
    /// [`BusError`] when Redis answers and what is configured cannot work.
    pub(crate) async fn start(
        options: RedisOptions,
        node: NodeId,
        events: Events,
        tasks: &TaskTracker,
    ) -> Result<Self, BusError> {
        check_roots(&options)?;
        let shared = Arc::new(Shared {
            names: Names::new(&options.prefix),
            options,
            node,
            events,
            topics: Topics::default(),
            outbox: Outbox::default(),
            state: Mutex::new(State::Down("not connected yet".to_owned())),
            dropped: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        });
        let first = driver::connect_first(&shared).await?;
        tasks.spawn(driver::run(Arc::clone(&shared), first));
        Ok(Self { shared })
    }

    /// Messages of no known form that came, since the start.
    #[cfg(test)]
    fn ignored(&self) -> u64 {
        self.shared.ignored.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisBus").field("node", &self.shared.node).finish_non_exhaustive()
    }
}

impl Drop for RedisBus {
    fn drop(&mut self) {
        self.shared.closing.cancel();
    }
}

/// An empty set of roots would show as an unreachable Redis only.
fn check_roots(options: &RedisOptions) -> Result<(), BusError> {
    if !options.endpoint.tls {
        return Ok(());
    }
    if let Some(pem) = &options.roots_pem {
        // The crate takes a text without any certificate for a good one.
        let marker = b"-----BEGIN CERTIFICATE-----";
        let holds_one = pem.windows(marker.len()).any(|window| window == marker);
        let none = || BusError::Roots("the text holds no certificate".to_owned());
        return if holds_one { Ok(()) } else { Err(none()) };
    }
    let found = rustls_native_certs::load_native_certs();
    match found.errors.first() {
        Some(error) => Err(BusError::Roots(error.to_string())),
        None if found.certs.is_empty() => Err(BusError::Roots("there are none".to_owned())),
        None => Ok(()),
    }
}

#[async_trait::async_trait]
impl Bus for RedisBus {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn publish(&self, channel: Channel, payload: Bytes) {
        let message = wire::encode(&self.shared.node, &payload);
        if !self.shared.outbox.push(channel, message) {
            self.shared.drop_messages(1);
        }
    }

    async fn subscribe(&self, document: &DocumentId) -> bool {
        match self.shared.topics.subscribe(document) {
            Subscription::InForce => true,
            Subscription::Later => false,
            // Ends without an answer when the link is lost.
            Subscription::Asked(answer) => answer.await.unwrap_or(false),
        }
    }

    fn unsubscribe(&self, document: &DocumentId) {
        self.shared.topics.unsubscribe(document);
    }

    async fn check(&self) -> Link {
        let link = match &*self.shared.state.lock() {
            State::Up(link) => link.clone(),
            State::Down(reason) => return Link::Down(reason.clone()),
        };
        match link.ping().await {
            Ok(latency) => Link::Up { latency },
            Err(error) => Link::Down(error.to_string()),
        }
    }

    fn is_up(&self) -> bool {
        matches!(*self.shared.state.lock(), State::Up(_))
    }

    fn is_alone(&self) -> bool {
        false
    }

    fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    async fn close(&self) {
        self.shared.outbox.shut();
        self.shared.closing.cancel();
        self.shared.closed.cancelled().await;
    }
}

impl Shared {
    fn drop_messages(&self, count: usize) {
        self.dropped.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Takes what a connection got without having asked. It runs within the connection, so it must
    /// not wait.
    fn receive(&self, push: PushInfo, lost: &Notify) {
        let mut parts = push.data.into_iter();
        let (Some(Value::BulkString(channel)), second) = (parts.next(), parts.next()) else {
            if push.kind == PushKind::Disconnection {
                lost.notify_one();
            }
            return;
        };
        match (push.kind, second) {
            (PushKind::Message | PushKind::SMessage, Some(Value::BulkString(message))) => {
                self.receive_message(&channel, &Bytes::from(message));
            }
            // Redis ends the subscriptions to slots that it gives away, without being asked.
            (PushKind::Unsubscribe | PushKind::SUnsubscribe, _) => {
                let is_asked = match self.names.read(&channel) {
                    Some(Name::Delta(document) | Name::Awareness(document)) => {
                        !self.topics.is_in_force(document)
                    }
                    Some(Name::Nodes) => false,
                    None => true,
                };
                if !is_asked {
                    lost.notify_one();
                }
            }
            _ => {}
        }
    }

    fn receive_message(&self, channel: &[u8], message: &Bytes) {
        let name = self.names.read(channel);
        let (Some(name), Some((node, payload))) = (name, wire::decode(message)) else {
            // Said once: who sends one sends many.
            if self.ignored.fetch_add(1, Ordering::Relaxed) == 0 {
                let prefix = &self.options.prefix;
                tracing::warn!(
                    prefix,
                    "a message of no known form came through Redis and was ignored: another \
                     program uses channels with this prefix, or another version of this one"
                );
            }
            return;
        };
        if node == self.node.as_str() {
            return;
        }
        let deliver = |channel| {
            let event = BusEvent::Message { channel, node: NodeId::new(node), payload };
            if self.events.try_send(event).is_err() {
                self.drop_messages(1);
            }
        };
        match name {
            Name::Delta(document) => self.topics.hear(document, |it| deliver(Channel::Delta(it))),
            Name::Awareness(document) => {
                self.topics.hear(document, |it| deliver(Channel::Awareness(it)));
            }
            Name::Nodes => self.topics.hear_nodes(|| deliver(Channel::Nodes)),
        }
    }
}
