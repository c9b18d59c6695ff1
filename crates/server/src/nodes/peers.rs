//! The other nodes of the community: what they say goes to the rooms, what the rooms say goes to
//! them, and what got lost between them is found out by comparing with the store.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use synckit_engine::ids::{DocumentId, NodeId};
use synckit_engine::peer::PeerMessage;
use synckit_store::{Identity, StorageProvider};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bus::{Bus, BusEvent, Channel};
use super::community::Community;
use super::comparison::{Comparison, Look};
use super::open_rooms::{Heard, OpenRooms};
use super::parts;
use crate::supervision::Supervisor;
use crate::time::{millis, moment};

/// How often a node says that it is there.
const ALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// A node that said nothing for so long is gone: it missed four times, which a busy one may not.
const NODE_SILENT_FOR: Duration = Duration::from_secs(9);

/// How often awareness is said again, so that a lost message is made good.
const AWARENESS_REPEATED_EVERY: u32 = 5;

/// How long clients whose connection is gone count as present: the time to come back.
pub(crate) const AWARENESS_GRACE: Duration = Duration::from_secs(3);

/// How often open documents are compared with the store. Two looks find what was lost.
const CHECK_INTERVAL_LINKED: Duration = Duration::from_millis(600);

/// The same while messages don't come through: nodes then converge by looking alone.
const CHECK_INTERVAL_UNLINKED: Duration = Duration::from_millis(300);

/// The same where no bus is configured: a second node on the same database is a mistake there, or
/// an upgrade; but the database itself may go back.
const CHECK_INTERVAL_ALONE: Duration = Duration::from_millis(1_500);

/// How often the store is asked which one it is, where no bus is configured: one row.
const LOOK_INTERVAL_ALONE: Duration = Duration::from_millis(500);

/// The same after another history was begun.
const LOOK_INTERVAL_URGENT: Duration = Duration::from_millis(100);

/// Answers to other nodes that are made at once. They read whole documents.
const ANSWERS_AT_ONCE: usize = 4;

/// The other nodes.
#[derive(Debug)]
pub(crate) struct Peers {
    bus: Arc<dyn Bus>,
    provider: Arc<dyn StorageProvider>,
    /// Whether all nodes write to one store, which then holds the truth.
    is_store_shared: bool,
    community: Community,
    heard: Mutex<HashMap<NodeId, Instant>>,
    look_now: Notify,
    answers: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Peers {
    pub(crate) fn new(
        bus: Arc<dyn Bus>,
        provider: Arc<dyn StorageProvider>,
        is_store_shared: bool,
        store: Identity,
    ) -> Self {
        Self {
            bus,
            provider,
            is_store_shared,
            community: Community::of(store),
            heard: Mutex::default(),
            look_now: Notify::new(),
            answers: Arc::new(Semaphore::new(ANSWERS_AT_ONCE)),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Starts the tasks that serve the rooms. They end with [`Peers::close`].
    pub(crate) fn start(
        self: &Arc<Self>,
        rooms: &Weak<dyn OpenRooms>,
        events: mpsc::Receiver<BusEvent>,
        supervisor: &Supervisor,
    ) {
        // All three are safe to run again: they hold no truth. What they were about to pass on is
        // made good like a lost message.
        let state = (Arc::clone(self), Weak::clone(rooms), events);
        supervisor.spawn(
            &self.tasks,
            "listener to other nodes",
            state,
            |(peers, rooms, events)| {
                Box::pin(peers.until_closed(Arc::clone(peers).listen(Weak::clone(rooms), events)))
            },
        );
        let state = (Arc::clone(self), Weak::clone(rooms));
        supervisor.spawn(&self.tasks, "sign of life", state, |(peers, rooms)| {
            Box::pin(peers.until_closed(Arc::clone(peers).keep_alive(Weak::clone(rooms))))
        });
        if self.is_store_shared {
            let state = (Arc::clone(self), Weak::clone(rooms));
            supervisor.spawn(&self.tasks, "comparison with the store", state, |(peers, rooms)| {
                Box::pin(peers.until_closed(Arc::clone(peers).look_into_store(Weak::clone(rooms))))
            });
        }
    }

    async fn until_closed(&self, task: impl Future<Output = ()>) {
        self.stop.run_until_cancelled(task).await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    pub(crate) fn bus(&self) -> &dyn Bus {
        &*self.bus
    }

    pub(crate) fn is_store_shared(&self) -> bool {
        self.is_store_shared
    }

    /// Whether there can be other nodes at all.
    pub(crate) fn is_alone(&self) -> bool {
        self.bus.is_alone()
    }

    /// How many other nodes were heard of lately.
    pub(crate) fn known(&self) -> usize {
        self.heard.lock().len()
    }

    /// Tells those that have the document open. One that gets lost is made good by the comparison
    /// with the store, or when awareness is said again.
    pub(crate) fn tell(&self, document: &DocumentId, message: PeerMessage) {
        if self.is_alone() {
            return;
        }
        let about_awareness =
            matches!(message, PeerMessage::Awareness { .. } | PeerMessage::AwarenessAsked);
        let channel = if about_awareness { Channel::Awareness } else { Channel::Delta };
        for message in parts::fitting(message) {
            if let Some(bytes) = message.encode(self.community.mark()) {
                self.bus.publish(channel(document.clone()), Bytes::from(bytes));
            }
        }
    }

    /// Asks the other nodes for what they hold of a document, where no store is shared.
    pub(crate) fn ask_for(&self, document: &DocumentId) {
        self.tell_nodes(&PeerMessage::DocumentAsked(document.clone()));
    }

    fn tell_nodes(&self, message: &PeerMessage) {
        if let Some(bytes) = message.encode(self.community.mark()) {
            self.bus.publish(Channel::Nodes, Bytes::from(bytes));
        }
    }

    /// Says goodbye and ends the tasks.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.tell_nodes(&PeerMessage::Leaving);
        self.bus.close().await;
    }

    /// Gives the rooms what comes.
    async fn listen(
        self: Arc<Self>,
        rooms: Weak<dyn OpenRooms>,
        events: &mut mpsc::Receiver<BusEvent>,
    ) {
        while let Some(event) = events.recv().await {
            let Some(rooms) = rooms.upgrade() else { return };
            match event {
                BusEvent::Message { channel, node, payload } => {
                    match PeerMessage::decode(&payload) {
                        Ok((mark, message)) if self.community.includes(mark, &node) => {
                            self.hear(&rooms, channel, node, message);
                        }
                        Ok(_) => {}
                        Err(error) => tracing::debug!(node = node.as_str(), error = %error),
                    }
                }
                BusEvent::Resumed => {
                    // Nobody was heard meanwhile, which is no reason to take them for gone.
                    self.heard.lock().values_mut().for_each(|at| *at = Instant::now());
                    self.tell_nodes(&PeerMessage::Alive);
                    rooms.give_all(&Heard::Resumed);
                    self.reconcile(&rooms);
                    self.look_now.notify_one();
                }
            }
        }
    }

    fn hear(
        self: &Arc<Self>,
        rooms: &Arc<dyn OpenRooms>,
        channel: Channel,
        node: NodeId,
        message: PeerMessage,
    ) {
        let (Channel::Delta(document) | Channel::Awareness(document)) = channel else {
            return self.hear_node(rooms, &node, &message);
        };
        let heard = match message {
            PeerMessage::Stored { deltas, .. } if !self.is_store_shared => {
                Heard::Merge(deltas.into_iter().map(|(_, delta)| delta).collect())
            }
            message => Heard::Said { node, message, now: moment() },
        };
        rooms.give(&document, heard);
    }

    fn hear_node(
        self: &Arc<Self>,
        rooms: &Arc<dyn OpenRooms>,
        node: &NodeId,
        message: &PeerMessage,
    ) {
        match message {
            PeerMessage::Alive => {
                let heard_before = self.heard.lock().insert(node.clone(), Instant::now());
                if heard_before.is_some() {
                    return;
                }
                tracing::info!(node = node.as_str(), "another node is there");
                // It should not have to wait for the next beat to know of this one.
                self.tell_nodes(&PeerMessage::Alive);
                self.reconcile(rooms);
            }
            PeerMessage::Leaving => {
                self.heard.lock().remove(node);
                let until = moment().after(millis(AWARENESS_GRACE));
                rooms.give_all(&Heard::NodeGone { node: node.clone(), until });
            }
            PeerMessage::DocumentAsked(document) if !self.is_store_shared => {
                // One that is not answered waits in vain, but not long.
                let Ok(permit) = Arc::clone(&self.answers).try_acquire_owned() else { return };
                let (peers, rooms) = (Arc::clone(self), Arc::clone(rooms));
                let document = document.clone();
                self.spawn(async move {
                    peers.answer(&*rooms, &document).await;
                    drop(permit);
                });
            }
            _ => {}
        }
    }

    /// Where no store is shared: tells what this node holds of the open documents, and asks for what
    /// others do. Both, because whoever comes back last is heard by all.
    fn reconcile(self: &Arc<Self>, rooms: &Arc<dyn OpenRooms>) {
        if self.is_store_shared {
            return;
        }
        let (peers, rooms) = (Arc::clone(self), Arc::clone(rooms));
        self.spawn(async move {
            for (document, _) in rooms.standings() {
                peers.ask_for(&document);
                peers.answer(&*rooms, &document).await;
            }
        });
    }

    /// Tells what this node holds of a document.
    async fn answer(&self, rooms: &dyn OpenRooms, document: &DocumentId) {
        match rooms.stored(document).await {
            Ok(stored) => {
                for message in parts::held(&stored) {
                    self.tell(document, message);
                }
            }
            Err(error) => {
                tracing::warn!(document.id = %document, error = %error, "not told to another node");
            }
        }
    }

    /// Says that this node is there, and finds out who isn't any more.
    async fn keep_alive(self: Arc<Self>, rooms: Weak<dyn OpenRooms>) {
        let mut beat = interval(ALIVE_INTERVAL);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beats: u32 = 0;
        let mut last = Instant::now();
        loop {
            beat.tick().await;
            // After a pause of this process, what the others said meanwhile is still to be heard.
            if last.elapsed() > ALIVE_INTERVAL * 2 {
                self.heard.lock().values_mut().for_each(|at| *at = Instant::now());
            }
            last = Instant::now();
            if self.is_alone() {
                continue;
            }
            let Some(rooms) = rooms.upgrade() else { return };
            self.tell_nodes(&PeerMessage::Alive);
            beats = beats.wrapping_add(1);
            if beats.is_multiple_of(AWARENESS_REPEATED_EVERY) {
                rooms.give_all(&Heard::RepeatAwareness);
            }
            // While nothing comes through, silence means nothing.
            if self.bus.is_up() {
                let silent = |_: &NodeId, at: &mut Instant| at.elapsed() > NODE_SILENT_FOR;
                let gone: Vec<_> = self.heard.lock().extract_if(silent).collect();
                for (node, _) in gone {
                    tracing::warn!(node = node.as_str(), "another node fell silent");
                    let until = moment();
                    rooms.give_all(&Heard::NodeGone { node: node.clone(), until });
                }
            }
        }
    }

    /// Compares the open documents with the store.
    async fn look_into_store(self: Arc<Self>, rooms: Weak<dyn OpenRooms>) {
        let mut comparison = Comparison::new(Arc::clone(&self.provider));
        let mut looked_at_documents = Instant::now();
        loop {
            let (pause, documents_every) = match (self.is_alone(), self.bus.is_up()) {
                (true, _) => (LOOK_INTERVAL_ALONE, CHECK_INTERVAL_ALONE),
                (false, true) => (CHECK_INTERVAL_LINKED, CHECK_INTERVAL_LINKED),
                (false, false) => (CHECK_INTERVAL_UNLINKED, CHECK_INTERVAL_UNLINKED),
            };
            let pause = if comparison.has_begun_history() { LOOK_INTERVAL_URGENT } else { pause };
            let mut look = tokio::select! {
                () = tokio::time::sleep(pause) => Look::Store,
                () = self.look_now.notified() => Look::Missed,
            };
            if look == Look::Store && looked_at_documents.elapsed() >= documents_every {
                look = Look::Documents;
            }
            if look != Look::Store {
                looked_at_documents = Instant::now();
            }
            let Some(rooms) = rooms.upgrade() else { return };
            match comparison.look(&*rooms, look).await {
                Ok(identity) => self.community.is(identity),
                Err(error) => tracing::debug!(error = %error, "documents are not compared"),
            }
        }
    }
}
