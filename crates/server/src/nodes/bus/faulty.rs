//! A bus that does all that the contract allows a bus to do, for tests of those who use one.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use synckit_engine::ids::DocumentId;

use super::{Bus, Channel, LinkHealth};

/// Messages held back at a time; the oldest of more is sent.
const HELD_MAX: usize = 8;

/// How often something happens to a message, in percent; the rest is sent at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) drop: u8,
    pub(crate) repeat: u8,
    /// Sent after later messages, or by [`FaultyBus::release`].
    pub(crate) hold: u8,
}

impl Default for Faults {
    fn default() -> Self {
        Self { drop: 20, repeat: 20, hold: 30 }
    }
}

/// Drops, repeats, delays and reorders what is published, by a seed.
#[derive(Debug)]
pub(crate) struct FaultyBus {
    inner: Arc<dyn Bus>,
    faults: Faults,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: u64,
    held: VecDeque<(Channel, Bytes)>,
}

impl FaultyBus {
    pub(crate) fn new(inner: Arc<dyn Bus>, seed: u64, faults: Faults) -> Self {
        let state = Mutex::new(State { random: seed, held: VecDeque::new() });
        Self { inner, faults, state }
    }

    /// Sends everything that is held back, so that a test can wait for the end.
    pub(crate) fn release(&self) {
        let held = std::mem::take(&mut self.state.lock().held);
        for (channel, payload) in held {
            self.inner.publish(channel, payload);
        }
    }
}

impl State {
    /// Below `bound`; the generator is SplitMix64.
    fn draw(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let wide = u128::from(mixed ^ (mixed >> 31)) * bound as u128;
        usize::try_from(wide >> 64).expect("below the bound")
    }
}

#[async_trait::async_trait]
impl Bus for FaultyBus {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn publish(&self, channel: Channel, payload: Bytes) {
        let mut state = self.state.lock();
        let percent = state.draw(100);
        let Faults { drop, repeat, hold } = self.faults;
        let [drop, repeat, hold] = [drop, repeat, hold].map(usize::from);
        if percent >= drop && percent < drop + repeat {
            self.inner.publish(channel.clone(), payload.clone());
            self.inner.publish(channel, payload);
        } else if percent >= drop + repeat && percent < drop + repeat + hold {
            state.held.push_back((channel, payload));
        } else if percent >= drop {
            self.inner.publish(channel, payload);
        }
        let is_due = state.held.len() > HELD_MAX || state.draw(100) < hold;
        if is_due && !state.held.is_empty() {
            let count = state.held.len();
            let index = state.draw(count);
            if let Some((channel, payload)) = state.held.remove(index) {
                self.inner.publish(channel, payload);
            }
        }
    }

    async fn subscribe(&self, document: &DocumentId) -> bool {
        self.inner.subscribe(document).await
    }

    fn unsubscribe(&self, document: &DocumentId) {
        self.inner.unsubscribe(document);
    }

    async fn check(&self) -> LinkHealth {
        self.inner.check().await
    }

    fn is_up(&self) -> bool {
        self.inner.is_up()
    }

    fn is_alone(&self) -> bool {
        self.inner.is_alone()
    }

    fn dropped(&self) -> u64 {
        self.inner.dropped()
    }

    async fn close(&self) {
        self.release();
        self.inner.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::local::LocalNetwork;
    use super::super::{BusEvent, EVENTS_WAITING_MAX};
    use super::*;
    use synckit_engine::ids::NodeId;
    use tokio::sync::mpsc;

    async fn numbers_heard(seed: u64) -> Vec<u8> {
        let network = LocalNetwork::new();
        let (events, mut heard) = mpsc::channel(EVENTS_WAITING_MAX);
        let _listener = network.join(NodeId::new("listener"), events.clone());
        let speaker = Arc::new(network.join(NodeId::new("speaker"), events));
        let bus = FaultyBus::new(speaker, seed, Faults::default());
        for number in 0..100 {
            bus.publish(Channel::Nodes, Bytes::from(vec![number]));
        }
        bus.close().await;
        let mut numbers = Vec::new();
        while let Ok(BusEvent::Message { payload, .. }) = heard.try_recv() {
            numbers.push(payload[0]);
        }
        numbers
    }

    #[tokio::test]
    async fn a_faulty_bus_drops_repeats_and_reorders_as_the_seed_says() {
        let numbers = numbers_heard(7).await;
        let distinct: std::collections::BTreeSet<_> = numbers.iter().collect();
        assert!(distinct.len() < 100, "nothing was dropped");
        assert!(distinct.len() < numbers.len(), "nothing was repeated");
        assert!(!numbers.is_sorted(), "nothing was reordered");
        assert_eq!(numbers, numbers_heard(7).await);
        assert_ne!(numbers, numbers_heard(8).await);
    }
}
