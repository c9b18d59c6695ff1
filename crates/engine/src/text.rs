//! A text document that several clients type in, as a lattice.
//!
//! A client sends its whole text with every edit: blocks of grapheme clusters, each block named by
//! its client and the clock of its last cluster. Clusters never move or change; a block is split
//! and its pieces marked deleted. So a text is a map from client and clock to a cluster, and two
//! texts are joined cluster by cluster, whatever the blocks they came in: the same states in any
//! order and however often give the same text on every node.
//!
//! The order in which clusters are shown follows from their origins. It is the clients' business
//! and nowhere computed here.

mod run;
mod runs;
mod stored_form;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::ids::ClientId;
use runs::Runs;
pub use wire::InvalidText;

/// A text: every grapheme cluster by client and clock, with its characters, the origins of its
/// block, whether it is deleted, and whether its block ends with it; and the greatest clock value
/// seen.
///
/// The values form a lattice under [`join`](Self::join): the flags only rise, and where clients
/// contradict each other about characters or origins, the greatest in a fixed order stays. Equal
/// texts are equal values, however they came about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextState {
    clock: u64,
    /// By client, none without clusters.
    clients: BTreeMap<ClientId, Runs>,
}

impl TextState {
    /// Whether this is nothing at all: no cluster, no clock.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clock == 0 && self.clients.is_empty()
    }

    /// The greatest clock value seen.
    #[must_use]
    pub fn clock(&self) -> u64 {
        self.clock
    }

    /// Approximate bytes in memory. Takes time by the number of clients.
    #[must_use]
    pub fn size(&self) -> usize {
        let client = |(id, runs): (&ClientId, &Runs)| id.as_str().len() + runs.size();
        size_of::<Self>() + self.clients.iter().map(client).sum::<usize>()
    }

    /// Blocks as clients read them, where one of more than
    /// [`TEXT_RUN_CLUSTERS_MAX`](crate::limits::TEXT_RUN_CLUSTERS_MAX) clusters may count for
    /// several. What is sent with more than
    /// [`TEXT_BLOCKS_MAX`](crate::limits::TEXT_BLOCKS_MAX) would be refused when it comes back.
    /// Takes time by the number of clients.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.clients.values().map(|runs| runs.iter().len()).sum()
    }

    /// Takes in all that `other` knows: the least upper bound of both. What it costs grows with
    /// `other`, and with the length of this text by its logarithm only.
    pub fn join(&mut self, other: &Self) {
        self.clock = self.clock.max(other.clock);
        for (client, theirs) in &other.clients {
            match self.clients.get_mut(client) {
                Some(mine) => mine.join(theirs),
                None => {
                    self.clients.insert(client.clone(), theirs.clone());
                }
            }
        }
    }

    /// The least part of this text that `known` lacks: joined into `known` it gives the same as
    /// the whole.
    #[must_use]
    pub fn minus(&self, known: &Self) -> Self {
        let clock = if self.clock > known.clock { self.clock } else { 0 };
        let lacking = |(client, mine): (&ClientId, &Runs)| {
            let runs = known.clients.get(client).map_or_else(|| mine.clone(), |it| mine.minus(it));
            (!runs.is_empty()).then(|| (client.clone(), runs))
        };
        Self { clock, clients: self.clients.iter().filter_map(lacking).collect() }
    }

    /// Whether this text includes all of `other`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.clock >= other.clock
            && other.clients.iter().all(|(client, theirs)| {
                self.clients.get(client).is_some_and(|mine| mine.covers(theirs))
            })
    }

    /// Parts whose join is the whole, each of about `bytes` bytes by [`size`](Self::size) or of
    /// one run. A part alone need not be a text that a client could have.
    #[must_use]
    pub fn parts(&self, bytes: usize) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut part = Self { clock: self.clock, ..Self::default() };
        let mut size = part.size();
        for (client, runs) in &self.clients {
            // Counted once again in every part that it is in.
            size += client.as_str().len();
            for (first, run) in runs.iter() {
                if size + run.size() > bytes && !part.clients.is_empty() {
                    parts.push(std::mem::take(&mut part));
                    size = part.size() + client.as_str().len();
                }
                size += run.size();
                part.clients.entry(client.clone()).or_default().insert(first, run.clone());
            }
        }
        if !part.is_empty() {
            parts.push(part);
        }
        parts
    }
}
