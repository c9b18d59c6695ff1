//! The bus through Redis: one channel for the edits and one for the awareness of every document that
//! is open, and one for the nodes.
//!
//! One task holds the link. Everything that looks like an interruption (a connection that ends, a
//! ping without an answer, a cluster that moved its slots) throws the link away and makes another
//! one, subscribes to everything again and then says [`BusEvent::Resumed`]. There is no other way
//! back, so there is one to be tested.

mod driver;
mod link;
mod options;
mod publish_queue;
mod sentinel;
mod shared;
#[cfg(test)]
mod tests;
mod topics;
mod wire;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use synckit_engine::ids::{DocumentId, NodeId};
use tokio_util::task::TaskTracker;

use self::driver::Driver;
use self::options::check_roots;
pub(crate) use self::options::{BusError, RedisOptions};
use self::shared::{LinkState, Shared};
use self::topics::Subscription;
use super::{Bus, Channel, Events, LinkHealth};
use crate::supervision::Supervisor;

/// A node's link to the others through Redis.
pub(crate) struct RedisBus {
    shared: Arc<Shared>,
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
        supervisor: &Supervisor,
    ) -> Result<Self, BusError> {
        check_roots(&options)?;
        let shared = Arc::new(Shared::new(options, node, events));
        let first = driver::connect_first(&shared).await?;
        let driver = Driver::new(Arc::clone(&shared), first);
        // Safe to run again: it begins with a lost link, and all that follows from one.
        supervisor.spawn(tasks, "link through Redis", driver, |driver| Box::pin(driver.run()));
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

#[async_trait::async_trait]
impl Bus for RedisBus {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn publish(&self, channel: Channel, payload: Bytes) {
        let message = wire::encode(&self.shared.node, &payload);
        if !self.shared.queue.push(channel, message) {
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

    async fn check(&self) -> LinkHealth {
        let link = match &*self.shared.state.lock() {
            LinkState::Up(link) => link.clone(),
            LinkState::Down(reason) => return LinkHealth::Down(reason.clone()),
        };
        match link.ping().await {
            Ok(latency) => LinkHealth::Up { latency },
            Err(error) => LinkHealth::Down(error.to_string()),
        }
    }

    fn is_up(&self) -> bool {
        matches!(*self.shared.state.lock(), LinkState::Up(_))
    }

    fn is_alone(&self) -> bool {
        false
    }

    fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    async fn close(&self) {
        self.shared.queue.shut();
        self.shared.closing.cancel();
        self.shared.closed.cancelled().await;
    }
}
