//! The bus within one process: of a server that has no peers, and of several servers that a test
//! runs side by side.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use synckit_engine::ids::{DocumentId, NodeId};

use super::{Bus, BusEvent, Channel, Events, LinkHealth};

/// The nodes that hear each other. Cheap to clone; a clone is the same network.
#[derive(Clone, Default)]
pub(crate) struct LocalNetwork {
    members: Arc<Mutex<HashMap<NodeId, Member>>>,
}

struct Member {
    events: Events,
    documents: HashSet<DocumentId>,
    dropped: Arc<AtomicU64>,
}

impl LocalNetwork {
    /// A network of nobody.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a node, which is in until its bus is closed or dropped.
    pub(crate) fn join(&self, node: NodeId, events: Events) -> LocalBus {
        let dropped = Arc::new(AtomicU64::new(0));
        let member = Member { events, documents: HashSet::new(), dropped: Arc::clone(&dropped) };
        self.members.lock().insert(node.clone(), member);
        LocalBus { network: self.clone(), node, dropped }
    }
}

impl fmt::Debug for LocalNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.members.lock().keys()).finish()
    }
}

/// One node's place in a [`LocalNetwork`].
#[derive(Debug)]
pub(crate) struct LocalBus {
    network: LocalNetwork,
    node: NodeId,
    dropped: Arc<AtomicU64>,
}

impl LocalBus {
    fn leave(&self) {
        let mut members = self.network.members.lock();
        // A node that joined again under the same id has taken the place over.
        if members.get(&self.node).is_some_and(|it| Arc::ptr_eq(&it.dropped, &self.dropped)) {
            members.remove(&self.node);
        }
    }
}

impl Drop for LocalBus {
    fn drop(&mut self) {
        self.leave();
    }
}

#[async_trait::async_trait]
impl Bus for LocalBus {
    fn name(&self) -> &'static str {
        "local"
    }

    fn publish(&self, channel: Channel, payload: Bytes) {
        let members = self.network.members.lock();
        // After the end nothing is sent any more (B7).
        if !members.contains_key(&self.node) {
            return;
        }
        for (node, member) in members.iter() {
            let hears = match &channel {
                Channel::Delta(document) | Channel::Awareness(document) => {
                    member.documents.contains(document)
                }
                Channel::Nodes => true,
            };
            if *node == self.node || !hears {
                continue;
            }
            let (channel, payload) = (channel.clone(), payload.clone());
            let event = BusEvent::Message { channel, node: self.node.clone(), payload };
            if member.events.try_send(event).is_err() {
                member.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    async fn subscribe(&self, document: &DocumentId) -> bool {
        match self.network.members.lock().get_mut(&self.node) {
            Some(member) => {
                member.documents.insert(document.clone());
                true
            }
            None => false,
        }
    }

    fn unsubscribe(&self, document: &DocumentId) {
        if let Some(member) = self.network.members.lock().get_mut(&self.node) {
            member.documents.remove(document);
        }
    }

    async fn check(&self) -> LinkHealth {
        let members = self.network.members.lock();
        if !members.contains_key(&self.node) {
            return LinkHealth::Down("the bus is closed".to_owned());
        }
        if members.len() > 1 {
            LinkHealth::Up { latency: Duration::ZERO }
        } else {
            LinkHealth::None
        }
    }

    fn is_alone(&self) -> bool {
        self.network.members.lock().len() <= 1
    }

    fn is_up(&self) -> bool {
        self.network.members.lock().contains_key(&self.node)
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    async fn close(&self) {
        self.leave();
    }
}
