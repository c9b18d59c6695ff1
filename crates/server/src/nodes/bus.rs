//! Messages between the nodes of one community.
//!
//! An accelerator, never an authority: what a node must know it learns from the store. A bus may
//! drop, repeat, delay and reorder, and its users live with that. What they rely on instead:
//!
//! - B1 *Publishing never waits.* A message that finds no place is dropped and counted.
//! - B2 *Nobody hears itself.* A message comes to the other nodes that are subscribed to its
//!   channel, and to the sender never.
//! - B3 *Whole or not at all.* A message arrives as it was published, with the node that sent it.
//! - B4 *Subscribed means subscribed.* When [`Bus::subscribe`] has returned `true`, messages that
//!   others publish from then on arrive, or [`BusEvent::Resumed`] does.
//! - B5 *A loss of the link shows.* When the link to the other nodes was interrupted and is back,
//!   every subscription is in force again, and then [`BusEvent::Resumed`] arrives.
//! - B6 *Unsubscribed means silence.* Soon after [`Bus::unsubscribe`] no message of that document
//!   arrives any more.
//! - B7 *Closing ends it.* [`Bus::close`] unsubscribes everything; nothing arrives after it.

#[cfg(test)]
mod conformance;
#[cfg(test)]
pub(crate) mod faulty;
pub(crate) mod local;
pub(crate) mod redis;

use std::time::Duration;

use bytes::Bytes;
use synckit_engine::ids::{DocumentId, NodeId};
use tokio::sync::mpsc;

/// Messages that arrived and wait to be given to the rooms. A bus that finds no place drops.
pub(crate) const EVENTS_WAITING_MAX: usize = 16_384;

/// What a message is about, which is also who hears it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Channel {
    /// The edits of a document; heard by nodes that are subscribed to it.
    Delta(DocumentId),
    /// The awareness in a document; heard by nodes that are subscribed to it.
    Awareness(DocumentId),
    /// The nodes themselves; heard by all, always.
    Nodes,
}

/// What comes from a bus.
#[derive(Debug)]
pub(crate) enum BusEvent {
    /// Another node published this.
    Message {
        /// Where.
        channel: Channel,
        /// Who.
        node: NodeId,
        /// What.
        payload: Bytes,
    },
    /// Messages may have been missed until now. From now on all arrive.
    Resumed,
}

/// How a bus gives out what comes: bounded by [`EVENTS_WAITING_MAX`].
pub(crate) type Events = mpsc::Sender<BusEvent>;

/// What a bus knows of its link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkHealth {
    /// There are no other nodes to be linked to.
    None,
    /// It answered, after so long.
    Up {
        /// Of the last round trip.
        latency: Duration,
    },
    /// It doesn't answer; why, without secrets.
    Down(String),
}

/// The way to the other nodes; see the module for the contract.
#[async_trait::async_trait]
pub(crate) trait Bus: std::fmt::Debug + Send + Sync {
    /// Its name in health answers and logs.
    fn name(&self) -> &'static str;

    /// Sends to the other nodes, sooner or later or never (B1).
    fn publish(&self, channel: Channel, payload: Bytes);

    /// Hears the two channels of a document from now on. Returns `true` once that is in force
    /// (B4), and `false` soon when the link is down: then it is in force before `Resumed` arrives.
    async fn subscribe(&self, document: &DocumentId) -> bool;

    /// Hears them no more (B6).
    fn unsubscribe(&self, document: &DocumentId);

    /// Asks the other side for a sign of life.
    async fn check(&self) -> LinkHealth;

    /// Whether there are no other nodes that could hear, so that nothing need be published.
    fn is_alone(&self) -> bool;

    /// Whether messages are believed to come through now. Asks nobody.
    fn is_up(&self) -> bool;

    /// Messages that were dropped for want of a place, since the start.
    fn dropped(&self) -> u64;

    /// Sends what is queued, within a second, and ends (B7).
    async fn close(&self);
}
