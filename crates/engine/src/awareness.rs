//! Presence: who is here and where their cursor is. Never stored, never acknowledged.

use std::collections::BTreeMap;

use crate::ids::{ClientId, Millis, NodeId, SessionId};
use crate::json::JsonText;
use crate::limits::{AWARENESS_CLIENTS_PER_SESSION_MAX, AWARENESS_ENTRIES_MAX};

/// One client's presence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What the client says of itself, opaque.
    pub state: JsonText,
    /// Its Lamport counter: newer replaces older.
    pub clock: u64,
    /// Who speaks for the client.
    pub owner: Owner,
    /// When it is taken for gone unless it is heard of again; while its connection is here: never.
    pub until: Option<Millis>,
}

/// Who speaks for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A connection to this node.
    Session(SessionId),
    /// Another node.
    Node(NodeId),
    /// Nobody any more. The client may be about to come back, here or on another node.
    Nobody {
        /// Whether it was connected to this node, which speaks for it until then.
        was_here: bool,
    },
}

/// How another node came to say something of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Whether it said so before; else something changed.
    pub is_repeated: bool,
    /// How long it counts unless it is said again.
    pub until: Millis,
}

/// Why an update was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Not newer than what is known. Not a fault of the client: nothing is answered.
    #[error("presence update is not newer than the one known")]
    Stale,
    /// One more client id than a connection may speak for.
    #[error("a connection speaks for at most {AWARENESS_CLIENTS_PER_SESSION_MAX} client ids")]
    TooManyClients,
    /// One more entry than a document may hold.
    #[error("a document holds at most {AWARENESS_ENTRIES_MAX} presence entries")]
    TooManyEntries,
}

/// The presence of one document.
///
/// An entry lives as long as the connection that owns it, or the node that tells of it, and a
/// moment longer: a user who does nothing for hours is still there, one who comes back at once
/// was never gone.
#[derive(Debug, Clone, Default)]
pub struct Awareness {
    entries: BTreeMap<ClientId, Entry>,
}

impl Awareness {
    /// Takes what `owner` says of `client`.
    ///
    /// From its owner only a newer clock counts. Another connection takes the entry over whatever
    /// its clock: a tab that was loaded again starts to count at 1 again.
    ///
    /// # Errors
    /// [`Refused`]; nothing changed.
    pub fn update(
        &mut self,
        owner: SessionId,
        client: &ClientId,
        state: JsonText,
        clock: u64,
    ) -> Result<(), Refused> {
        let owner = Owner::Session(owner);
        let known = self.entries.get(client.as_str());
        if known.is_some_and(|entry| entry.owner == owner && clock <= entry.clock) {
            return Err(Refused::Stale);
        }
        if known.is_none() && self.entries.len() >= AWARENESS_ENTRIES_MAX {
            return Err(Refused::TooManyEntries);
        }
        if known.is_none_or(|entry| entry.owner != owner) {
            let owned = self.entries.values().filter(|entry| entry.owner == owner).count();
            if owned >= AWARENESS_CLIENTS_PER_SESSION_MAX {
                return Err(Refused::TooManyClients);
            }
        }
        self.entries.insert(client.clone(), Entry { state, clock, owner, until: None });
        Ok(())
    }

    /// Removes what `owner` said of `client`; whether there was such an entry.
    ///
    /// # Errors
    /// [`Refused::Stale`] when `clock` is not newer, or another connection owns the entry.
    pub fn remove(
        &mut self,
        owner: SessionId,
        client: &ClientId,
        clock: u64,
    ) -> Result<bool, Refused> {
        match self.entries.get(client.as_str()) {
            None => Ok(false),
            Some(entry) if entry.owner != Owner::Session(owner) || clock <= entry.clock => {
                Err(Refused::Stale)
            }
            Some(_) => Ok(self.entries.remove(client.as_str()).is_some()),
        }
    }

    /// Removes every entry of a connection that left. Each comes back with the clock that makes
    /// its removal newer than the entry.
    pub fn disconnect(&mut self, owner: SessionId) -> Vec<(ClientId, u64)> {
        let owner = Owner::Session(owner);
        self.take(|entry| entry.owner == owner)
    }

    /// Keeps the entries of a connection that was lost until its clients have had time to return.
    pub fn abandon(&mut self, owner: SessionId, until: Millis) {
        self.orphan(&Owner::Session(owner), until, true);
    }

    /// Keeps what a node said that is gone until its clients have had time to return.
    pub fn abandon_node(&mut self, node: &NodeId, until: Millis) {
        self.orphan(&Owner::Node(node.clone()), until, false);
    }

    fn orphan(&mut self, owner: &Owner, until: Millis, was_here: bool) {
        for entry in self.entries.values_mut().filter(|entry| entry.owner == *owner) {
            entry.owner = Owner::Nobody { was_here };
            entry.until = Some(until);
        }
    }

    /// Removes the entries that were not heard of in time, as [`Awareness::disconnect`].
    pub fn expire(&mut self, now: Millis) -> Vec<(ClientId, u64)> {
        self.take(|entry| entry.until.is_some_and(|until| until <= now))
    }

    /// When [`Awareness::expire`] next has something to remove.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Millis> {
        self.entries.values().filter_map(|entry| entry.until).min()
    }

    /// Takes what another node says of a client, which counts until then; whether anything is new
    /// to those who watch.
    ///
    /// A client that moved to that node is taken over whatever its clock. What a node merely
    /// repeats counts only where nobody else speaks for the client, or with a newer clock: the
    /// client may have moved on since.
    pub fn hear(
        &mut self,
        node: &NodeId,
        client: &ClientId,
        state: JsonText,
        clock: u64,
        heard: Heard,
    ) -> bool {
        let owner = Owner::Node(node.clone());
        let entry = Entry { state, clock, owner, until: Some(heard.until) };
        let Some(known) = self.entries.get_mut(client.as_str()) else {
            let has_place = self.entries.len() < AWARENESS_ENTRIES_MAX;
            if has_place {
                self.entries.insert(client.clone(), entry);
            }
            return has_place;
        };
        let counts = match &known.owner {
            Owner::Nobody { .. } => true,
            owner if *owner == entry.owner => {
                known.until = entry.until;
                clock > known.clock
            }
            Owner::Session(_) | Owner::Node(_) => !heard.is_repeated || clock > known.clock,
        };
        if !counts {
            return false;
        }
        let before = std::mem::replace(known, entry);
        before.state != known.state || before.clock != known.clock
    }

    /// Takes from another node that a client is gone; whether it was that node's and was here.
    pub fn hear_gone(&mut self, node: &NodeId, client: &ClientId, clock: u64) -> bool {
        let owner = Owner::Node(node.clone());
        let goes = self
            .entries
            .get(client.as_str())
            .is_some_and(|entry| entry.owner == owner && clock > entry.clock);
        if goes {
            self.entries.remove(client.as_str());
        }
        goes
    }

    fn take(&mut self, goes: impl Fn(&Entry) -> bool) -> Vec<(ClientId, u64)> {
        let gone = self.entries.extract_if(.., |_, entry| goes(entry));
        gone.map(|(client, entry)| (client, entry.clock.saturating_add(1))).collect()
    }

    /// What this node has to tell the others: who is connected to it, or was a moment ago.
    pub fn here(&self) -> impl Iterator<Item = (&ClientId, &Entry)> {
        self.entries.iter().filter(|(_, entry)| {
            matches!(entry.owner, Owner::Session(_) | Owner::Nobody { was_here: true })
        })
    }

    /// Everybody who is here.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&ClientId, &Entry)> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str) -> ClientId {
        ClientId::new(name).unwrap()
    }

    fn state(text: &str) -> JsonText {
        JsonText::parse(text).unwrap()
    }

    #[test]
    fn an_owner_is_heard_in_the_order_of_its_clock() {
        let mut here = Awareness::default();
        let (owner, ann) = (SessionId(1), client("ann"));
        assert_eq!(here.update(owner, &ann, state("{}"), 2), Ok(()));
        assert_eq!(here.update(owner, &ann, state("{\"x\":1}"), 2), Err(Refused::Stale));
        assert_eq!(here.update(owner, &ann, state("{\"x\":1}"), 3), Ok(()));
        assert_eq!(here.remove(owner, &ann, 3), Err(Refused::Stale));
        assert_eq!(here.remove(owner, &ann, 4), Ok(true));
        assert_eq!(here.remove(owner, &ann, 5), Ok(false));
    }

    #[test]
    fn another_connection_takes_a_client_over_and_outlives_the_first() {
        let mut here = Awareness::default();
        let ann = client("ann");
        here.update(SessionId(1), &ann, state("{}"), 9).unwrap();
        here.update(SessionId(2), &ann, state("{}"), 1).unwrap();
        assert_eq!(here.disconnect(SessionId(1)), vec![]);
        assert_eq!(here.disconnect(SessionId(2)), vec![(ann, 2)]);
        assert_eq!(here.entries().len(), 0);
    }

    #[test]
    fn entries_are_bounded_per_connection_and_per_document() {
        let mut here = Awareness::default();
        for n in 0..AWARENESS_CLIENTS_PER_SESSION_MAX {
            here.update(SessionId(0), &client(&format!("c{n}")), state("{}"), 1).unwrap();
        }
        assert_eq!(
            here.update(SessionId(0), &client("more"), state("{}"), 1),
            Err(Refused::TooManyClients)
        );
        let present = here.entries().len();
        for n in present..AWARENESS_ENTRIES_MAX {
            let owner = SessionId(1 + n as u64);
            here.update(owner, &client(&format!("d{n}")), state("{}"), 1).unwrap();
        }
        assert_eq!(
            here.update(SessionId(9_999), &client("last"), state("{}"), 1),
            Err(Refused::TooManyEntries)
        );
    }

    fn node(name: &str) -> NodeId {
        NodeId::new(name)
    }

    #[test]
    fn a_client_that_returns_in_time_was_never_gone() {
        let mut here = Awareness::default();
        let ann = client("ann");
        here.update(SessionId(1), &ann, state("{}"), 4).unwrap();
        here.abandon(SessionId(1), 1_000);
        assert_eq!(here.next_expiry(), Some(1_000));
        assert_eq!(here.expire(999), vec![]);
        assert!(!here.hear(&node("b"), &ann, state("{}"), 4, changed(9_000)));
        assert_eq!(here.expire(5_000), vec![], "it never went");
        assert_eq!(here.here().count(), 0, "it is the other node's now");
    }

    #[test]
    fn a_client_that_stays_away_goes_when_its_time_is_over() {
        let mut here = Awareness::default();
        let (ann, ben) = (client("ann"), client("ben"));
        here.update(SessionId(1), &ann, state("{}"), 4).unwrap();
        here.hear(&node("b"), &ben, state("{}"), 7, repeated(9_000));
        here.abandon(SessionId(1), 1_000);
        here.abandon_node(&node("b"), 2_000);
        assert_eq!(here.expire(1_000), vec![(ann, 5)]);
        assert_eq!(here.expire(2_000), vec![(ben, 8)]);
    }

    #[test]
    fn a_repeated_entry_does_not_take_a_client_back_that_moved_on() {
        let mut here = Awareness::default();
        let ann = client("ann");
        here.update(SessionId(1), &ann, state("{}"), 4).unwrap();
        assert!(!here.hear(&node("b"), &ann, state("{\"old\":1}"), 4, repeated(9)));
        assert_eq!(here.here().count(), 1);
        assert!(here.hear(&node("b"), &ann, state("{\"new\":1}"), 1, changed(9)));
        assert_eq!(here.disconnect(SessionId(1)), vec![], "the first connection lost it");
        assert!(!here.hear_gone(&node("c"), &ann, 9), "only the node that speaks for it");
        assert!(here.hear_gone(&node("b"), &ann, 2));
    }

    #[test]
    fn what_a_node_does_not_repeat_in_time_is_gone() {
        let mut here = Awareness::default();
        let (ann, ben) = (client("ann"), client("ben"));
        here.hear(&node("b"), &ann, state("{}"), 1, repeated(100));
        here.hear(&node("b"), &ben, state("{}"), 3, repeated(100));
        here.hear(&node("b"), &ann, state("{}"), 1, repeated(200));
        assert_eq!(here.expire(150), vec![(ben, 4)]);
        assert_eq!(here.next_expiry(), Some(200));
    }

    fn repeated(until: Millis) -> Heard {
        Heard { is_repeated: true, until }
    }

    fn changed(until: Millis) -> Heard {
        Heard { is_repeated: false, until }
    }
}
