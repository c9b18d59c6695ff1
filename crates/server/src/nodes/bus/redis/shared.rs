//! What the bus, the task that holds the link, and the connections have in common.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use synckit_engine::ids::NodeId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::link::Link;
use super::options::RedisOptions;
use super::publish_queue::PublishQueue;
use super::topics::Topics;
use super::wire::{self, Name, Names};
use crate::nodes::bus::{BusEvent, Channel, Events};

/// What the bus, the task that holds the link, and the connections have in common.
pub(super) struct Shared {
    pub(super) options: RedisOptions,
    pub(super) names: Names,
    pub(super) node: NodeId,
    pub(super) events: Events,
    pub(super) topics: Topics,
    pub(super) queue: PublishQueue,
    pub(super) state: Mutex<LinkState>,
    /// Messages that found no place.
    pub(super) dropped: AtomicU64,
    /// Messages that were of no known form.
    pub(super) ignored: AtomicU64,
    pub(super) closing: CancellationToken,
    pub(super) closed: CancellationToken,
}

/// Whether there is a link.
pub(super) enum LinkState {
    Up(Link),
    Down(String),
}

impl Shared {
    pub(super) fn new(options: RedisOptions, node: NodeId, events: Events) -> Self {
        Self {
            names: Names::new(&options.prefix, options.endpoint.database),
            options,
            node,
            events,
            topics: Topics::default(),
            queue: PublishQueue::default(),
            state: Mutex::new(LinkState::Down("not connected yet".to_owned())),
            dropped: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        }
    }

    pub(super) fn drop_messages(&self, count: usize) {
        self.dropped.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Takes what a connection got without having asked. It runs within the connection, so it must
    /// not wait.
    pub(super) fn receive(&self, push: PushInfo, lost: &Notify) {
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
