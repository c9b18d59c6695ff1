//! Which documents are to be heard, and which are.

use std::collections::HashMap;

use parking_lot::Mutex;
use synckit_engine::ids::DocumentId;
use tokio::sync::{Notify, oneshot};

/// Documents whose subscriptions are sent at a time: a reply to the last one comes well within the
/// time that a reply may take.
const BATCH_DOCUMENTS_MAX: usize = 1000;

/// The documents asked for against those that Redis confirmed.
#[derive(Default)]
pub(super) struct Topics {
    state: Mutex<Subscribed>,
    changed: Notify,
}

#[derive(Default)]
struct Subscribed {
    /// Whether all that was asked for before is in force, so that new requests wait for their turn.
    up: bool,
    closed: bool,
    documents: HashMap<DocumentId, Topic>,
    /// Documents to be looked at; each at most once.
    changes: Vec<DocumentId>,
}

#[derive(Default)]
struct Topic {
    wanted: bool,
    /// Confirmed, and not asked to end since.
    in_force: bool,
    queued: bool,
    waiting: Vec<oneshot::Sender<bool>>,
}

/// What a request to hear a document led to.
pub(super) enum Subscription {
    InForce,
    /// The link is down; it will be in force when the link is back.
    Later,
    Asked(oneshot::Receiver<bool>),
}

/// What to tell Redis next.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) subscribe: Vec<DocumentId>,
    pub(super) unsubscribe: Vec<DocumentId>,
}

impl Subscribed {
    fn queue(&mut self, document: &DocumentId) {
        if let Some(topic) = self.documents.get_mut(document)
            && !std::mem::replace(&mut topic.queued, true)
        {
            self.changes.push(document.clone());
        }
    }

    fn lose(&mut self) {
        self.up = false;
        self.changes.clear();
        self.documents.retain(|_, topic| {
            topic.in_force = false;
            topic.queued = false;
            // Dropping the senders answers those who wait: not in force.
            topic.waiting.clear();
            topic.wanted
        });
    }
}

impl Topics {
    pub(super) fn subscribe(&self, document: &DocumentId) -> Subscription {
        let mut state = self.state.lock();
        if state.closed {
            return Subscription::Later;
        }
        let up = state.up;
        let topic = state.documents.entry(document.clone()).or_default();
        topic.wanted = true;
        if up && topic.in_force {
            return Subscription::InForce;
        }
        let answer = up.then(|| {
            let (sender, receiver) = oneshot::channel();
            topic.waiting.push(sender);
            receiver
        });
        state.queue(document);
        drop(state);
        self.changed.notify_one();
        answer.map_or(Subscription::Later, Subscription::Asked)
    }

    pub(super) fn unsubscribe(&self, document: &DocumentId) {
        let mut state = self.state.lock();
        let Some(topic) = state.documents.get_mut(document) else { return };
        topic.wanted = false;
        topic.waiting.clear();
        state.queue(document);
        drop(state);
        self.changed.notify_one();
    }

    /// Returns soon after there is something for [`Topics::take`].
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The next changes to be made together; empty when there are none.
    pub(super) fn take(&self) -> Changes {
        let mut state = self.state.lock();
        let state = &mut *state;
        let mut changes = Changes::default();
        let from = state.changes.len().saturating_sub(BATCH_DOCUMENTS_MAX);
        for document in state.changes.drain(from..) {
            let Some(topic) = state.documents.get_mut(&document) else { continue };
            topic.queued = false;
            match (topic.wanted, topic.in_force) {
                (true, false) => changes.subscribe.push(document),
                (false, true) => {
                    topic.in_force = false;
                    changes.unsubscribe.push(document);
                }
                (true, true) => answer(topic),
                (false, false) => {
                    state.documents.remove(&document);
                }
            }
        }
        changes
    }

    /// Redis did what [`Topics::take`] said.
    pub(super) fn confirm(&self, changes: &Changes) {
        let mut state = self.state.lock();
        for document in &changes.subscribe {
            if let Some(topic) = state.documents.get_mut(document) {
                topic.in_force = true;
                if topic.wanted {
                    answer(topic);
                }
            }
        }
        for document in &changes.unsubscribe {
            if state.documents.get(document).is_some_and(|it| !it.wanted && !it.queued) {
                state.documents.remove(document);
            }
        }
    }

    /// A new link subscribes to everything.
    pub(super) fn start_over(&self) {
        let mut state = self.state.lock();
        state.lose();
        let documents: Vec<DocumentId> = state.documents.keys().cloned().collect();
        for document in &documents {
            state.queue(document);
        }
    }

    /// Whether nothing is left to be told to Redis; then new requests wait for their confirmation.
    pub(super) fn is_settled(&self) -> bool {
        let mut state = self.state.lock();
        if state.changes.is_empty() {
            state.up = true;
        }
        state.up
    }

    /// The link is lost: nothing is in force, and nobody waits any longer.
    pub(super) fn lose(&self) {
        self.state.lock().lose();
    }

    /// Nothing is heard any more. After the return no call of [`Topics::hear`] finds anything.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.lose();
        state.closed = true;
        state.documents.clear();
    }

    /// Runs `deliver` for a document that is asked for, and within this lock: so that nothing comes
    /// after [`Topics::close`].
    pub(super) fn hear(&self, document: &str, deliver: impl FnOnce(DocumentId)) {
        let state = self.state.lock();
        if let Some((document, topic)) = state.documents.get_key_value(document)
            && topic.wanted
        {
            deliver(document.clone());
        }
    }

    /// As [`Topics::hear`], for what is not about a document.
    pub(super) fn hear_nodes(&self, deliver: impl FnOnce()) {
        let state = self.state.lock();
        if !state.closed {
            deliver();
        }
    }

    pub(super) fn is_in_force(&self, document: &str) -> bool {
        self.state.lock().documents.get(document).is_some_and(|topic| topic.in_force)
    }
}

fn answer(topic: &mut Topic) {
    for waiting in topic.waiting.drain(..) {
        // Fails when the one who asked has gone, who then needs no answer.
        let _ = waiting.send(true);
    }
}
