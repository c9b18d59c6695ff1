//! Who belongs to this community: the nodes that write to the same store. Others may use the same
//! channels of the same Redis by mistake, and must neither show their values here nor hide any.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use synckit_engine::ids::NodeId;
use synckit_store::Identity;
use tokio::time::Instant;

/// How long nodes may differ about which store they have, while it changes: each looks for itself.
const DIFFERENCE_MAX: Duration = Duration::from_secs(10);

/// Which community this node belongs to.
#[derive(Debug)]
pub(super) struct Community {
    /// 0 where nodes share no store.
    mark: AtomicU64,
    changed: Mutex<Instant>,
    is_warned: AtomicBool,
}

impl Community {
    /// That of the nodes that have this store.
    pub(super) fn of(store: Identity) -> Self {
        Self {
            mark: AtomicU64::new(mark_of(store)),
            changed: Mutex::new(Instant::now()),
            is_warned: AtomicBool::new(false),
        }
    }

    /// What every message of it bears.
    pub(super) fn mark(&self) -> u64 {
        self.mark.load(Ordering::Relaxed)
    }

    /// It is that of this store.
    pub(super) fn is(&self, store: Identity) {
        let mark = mark_of(store);
        if self.mark.swap(mark, Ordering::Relaxed) != mark {
            *self.changed.lock() = Instant::now();
        }
    }

    /// Whether a message that bears this mark is one of its own.
    pub(super) fn includes(&self, mark: u64, node: &NodeId) -> bool {
        let is_own = mark == self.mark();
        if !is_own
            && self.changed.lock().elapsed() > DIFFERENCE_MAX
            && !self.is_warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                node = node.as_str(),
                "messages of nodes with another store come through Redis and are passed over; give \
                 each community a storage.redis.channelprefix of its own"
            );
        }
        is_own
    }
}

/// The same on every node, whatever it was built with.
fn mark_of(store: Identity) -> u64 {
    /// Spreads what differs in few bits over all: 2^64 divided by the golden ratio.
    const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

    let parts = store.tables.unwrap_or_default();
    parts
        .iter()
        .fold(store.history, |mark, part| (mark ^ part).wrapping_mul(SPREAD).rotate_left(29))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_that_differ_in_anything_but_their_file_are_other_communities() {
        let store = Identity { history: 1 << 40, tables: Some([7, 8, 9]), file: 1 };
        let community = Community::of(store);
        let node = NodeId::new("other");
        let includes = |store| community.includes(mark_of(store), &node);
        assert!(includes(store));
        assert!(includes(Identity { file: 2, ..store }), "it was only rewritten");
        assert!(!includes(Identity { history: (1 << 40) + (1 << 32), ..store }), "a standby");
        for tables in [[6, 8, 9], [7, 9, 8], [7, 8, 10]] {
            assert!(!includes(Identity { tables: Some(tables), ..store }), "{tables:?}");
        }
        assert!(!community.includes(0, &node), "one that shares no store");
        assert_eq!(Community::of(Identity::default()).mark(), 0);
    }
}
