//! The bus between nodes: it drops, repeats, delays and reorders, and its links break.

use synckit_engine::ids::NodeId;
use synckit_engine::peer::PeerMessage;

use crate::plan::Plan;
use crate::random::Random;

/// One message on its way to one node.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub(crate) to: usize,
    pub(crate) from: NodeId,
    /// About which document; none: about the nodes themselves.
    pub(crate) document: Option<usize>,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Bus {
    pub(crate) flights: Vec<Flight>,
    /// Whether each node's link works.
    pub(crate) links: Vec<bool>,
    pub(crate) is_healed: bool,
}

impl Bus {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { flights: Vec::new(), links: vec![true; nodes], is_healed: false }
    }

    /// Sends to all other nodes; nobody hears itself.
    pub(crate) fn publish(
        &mut self,
        (from, name): (usize, &NodeId),
        document: Option<usize>,
        message: &PeerMessage,
        plan: &Plan,
        random: &mut Random,
    ) {
        let Some(bytes) = message.encode(0).filter(|_| self.links[from]) else { return };
        for to in (0..self.links.len()).filter(|to| *to != from) {
            let copies = match () {
                () if self.is_healed => 1,
                () if !self.links[to] || random.chance(plan.bus_drops) => 0,
                () if random.chance(plan.bus_repeats) => 2,
                () => 1,
            };
            let flight = Flight { to, from: name.clone(), document, bytes: bytes.clone() };
            self.flights.extend(std::iter::repeat_n(flight, copies));
        }
    }

    /// The next message to arrive, on a link that works.
    pub(crate) fn arrive(&mut self, plan: &Plan, random: &mut Random) -> Option<Flight> {
        if self.flights.is_empty() {
            return None;
        }
        let at = if plan.bus_reorders { random.below(self.flights.len()) } else { 0 };
        let flight = self.flights.remove(at);
        self.links[flight.to].then_some(flight)
    }

    /// A node's link breaks, or the node: what was on its way to it is lost.
    pub(crate) fn lose(&mut self, node: usize) {
        self.flights.retain(|flight| flight.to != node);
    }
}
