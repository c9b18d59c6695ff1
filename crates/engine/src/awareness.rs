//! Awareness: who is here and where their cursor is. Never stored, never acknowledged. Owns whose
//! word counts for a client; knows no messages.

use std::collections::BTreeMap;

use crate::ids::{ClientId, NodeId, SessionId};
use crate::json::JsonText;
use crate::limits::{AWARENESS_CLIENTS_PER_SESSION_MAX, AWARENESS_ENTRIES_MAX};
use crate::time::Moment;

/// One client's awareness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What the client says of itself, opaque.
    pub state: JsonText,
    /// Its Lamport clock: newer replaces older.
    pub clock: u64,
    /// Who speaks for the client.
    pub owner: Owner,
    /// When it is taken for gone unless it is heard of again; while its connection is here: never.
    pub until: Option<Moment>,
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
    pub until: Moment,
}

/// Why an update was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Not newer than what is known. Not a fault of the client: nothing is answered.
    #[error("awareness update is not newer than the one known")]
    Stale,
    /// One more client id than a connection may speak for.
    #[error("a connection speaks for at most {AWARENESS_CLIENTS_PER_SESSION_MAX} client ids")]
    TooManyClients,
    /// One more entry than a document may hold.
    #[error("a document holds at most {AWARENESS_ENTRIES_MAX} presence entries")]
    TooManyEntries,
}

/// A client with its state, none when it is gone, and its clock.
pub type Changed = (ClientId, Option<JsonText>, u64);

/// The awareness of one document.
///
/// An entry lives as long as the connection that owns it, or the node that tells of it, and a
/// moment longer: a user who does nothing for hours is still there, one who comes back at once
/// was never gone.
#[derive(Debug, Clone, Default)]
pub struct Awareness {
    entries: BTreeMap<ClientId, Entry>,
    /// What the connections to this node said last. Another connection or node may have taken the
    /// client over since, by words that were late: when it ends, this counts again.
    said: BTreeMap<(ClientId, SessionId), (JsonText, u64)>,
}

impl Awareness {
    /// Takes what `owner` says of `client`.
    ///
    /// From its owner only a newer clock counts. Another connection takes the entry over whatever
    /// its clock: a tab that was loaded again starts to count at 1 again. Gives the clock under which
    /// the others are told, which is newer than what they know.
    ///
    /// # Errors
    /// [`Refused`]; nothing changed.
    pub fn update(
        &mut self,
        owner: SessionId,
        client: &ClientId,
        state: JsonText,
        clock: u64,
    ) -> Result<u64, Refused> {
        let said = self.said.get(&(client.clone(), owner));
        if said.is_some_and(|(_, newest)| clock <= *newest) {
            return Err(Refused::Stale);
        }
        let is_known = self.entries.contains_key(client.as_str());
        if !is_known && self.entries.len() >= AWARENESS_ENTRIES_MAX {
            return Err(Refused::TooManyEntries);
        }
        if said.is_none() {
            let owned = self.said.keys().filter(|(_, speaker)| *speaker == owner).count();
            if owned >= AWARENESS_CLIENTS_PER_SESSION_MAX {
                return Err(Refused::TooManyClients);
            }
        }
        self.said.insert((client.clone(), owner), (state.clone(), clock));
        let owner = Owner::Session(owner);
        let known = self.entries.get(client.as_str()).map_or(0, |entry| entry.clock);
        let clock = clock.max(known.saturating_add(1));
        self.entries.insert(client.clone(), Entry { state, clock, owner, until: None });
        Ok(clock)
    }

    /// Removes what `owner` said of `client`; gives the clock under which the others are told, if there
    /// was such an entry.
    ///
    /// # Errors
    /// [`Refused::Stale`] when `clock` is not newer, or another connection owns the entry.
    pub fn remove(
        &mut self,
        owner: SessionId,
        client: &ClientId,
        clock: u64,
    ) -> Result<Option<u64>, Refused> {
        let said = self.said.get(&(client.clone(), owner));
        if said.is_some_and(|(_, newest)| clock <= *newest) {
            return Err(Refused::Stale);
        }
        // It left, so what it said over earlier connections counts for nothing either.
        self.said.retain(|(of, speaker), _| of != client || *speaker > owner);
        match self.entries.get(client.as_str()) {
            None => Ok(None),
            Some(entry) if entry.owner != Owner::Session(owner) => Err(Refused::Stale),
            Some(entry) => {
                let clock = clock.max(entry.clock.saturating_add(1));
                self.entries.remove(client.as_str());
                Ok(Some(clock))
            }
        }
    }

    /// Removes every entry of a connection that left. Each comes back with the clock that makes
    /// its removal newer than the entry, or with what another connection says.
    pub fn disconnect(&mut self, owner: SessionId) -> Vec<Changed> {
        self.said.retain(|(_, speaker), _| *speaker != owner);
        let owner = Owner::Session(owner);
        self.take(|entry| entry.owner == owner)
    }

    /// Keeps the entries of a connection that was lost until its clients have had time to return;
    /// gives those for which another connection speaks.
    pub fn abandon(&mut self, owner: SessionId, until: Moment) -> Vec<Changed> {
        self.said.retain(|(_, speaker), _| *speaker != owner);
        self.orphan(&Owner::Session(owner), until, true)
    }

    /// Keeps what a node said that is gone until its clients have had time to return; gives those
    /// for which a connection speaks.
    pub fn abandon_node(&mut self, node: &NodeId, until: Moment) -> Vec<Changed> {
        self.orphan(&Owner::Node(node.clone()), until, false)
    }

    fn orphan(&mut self, owner: &Owner, until: Moment, was_here: bool) -> Vec<Changed> {
        let mut back = Vec::new();
        for (client, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.owner == *owner) {
            if let Some(said) = last_said(&self.said, client, entry.clock) {
                *entry = said;
                back.push((client.clone(), Some(entry.state.clone()), entry.clock));
            } else {
                entry.owner = Owner::Nobody { was_here };
                entry.until = Some(until);
            }
        }
        back
    }

    /// Removes the entries that were not heard of in time, as [`Awareness::disconnect`].
    pub fn expire(&mut self, now: Moment) -> Vec<Changed> {
        self.take(|entry| entry.until.is_some_and(|until| until <= now))
    }

    /// When [`Awareness::expire`] next has something to remove.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Moment> {
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
                // A repeat is what the owner says now, also after it started to count anew.
                heard.is_repeated || clock > known.clock
            }
            Owner::Session(_) | Owner::Node(_) => !heard.is_repeated || clock > known.clock,
        };
        if !counts {
            return false;
        }
        let before = std::mem::replace(known, entry);
        before.state != known.state || before.clock != known.clock
    }

    /// Takes from another node that a client is gone; what changed, if it was that node's.
    pub fn hear_gone(&mut self, node: &NodeId, client: &ClientId, clock: u64) -> Option<Changed> {
        let owner = Owner::Node(node.clone());
        let entry = self.entries.get_mut(client.as_str())?;
        if entry.owner != owner || clock <= entry.clock {
            return None;
        }
        if let Some(said) = last_said(&self.said, client, clock) {
            *entry = said;
            return Some((client.clone(), Some(entry.state.clone()), entry.clock));
        }
        self.entries.remove(client.as_str());
        Some((client.clone(), None, clock))
    }

    fn take(&mut self, goes: impl Fn(&Entry) -> bool) -> Vec<Changed> {
        let mut changed = Vec::new();
        self.entries.retain(|client, entry| {
            if !goes(entry) {
                return true;
            }
            if let Some(said) = last_said(&self.said, client, entry.clock) {
                *entry = said;
                changed.push((client.clone(), Some(entry.state.clone()), entry.clock));
                return true;
            }
            changed.push((client.clone(), None, entry.clock.saturating_add(1)));
            false
        });
        changed
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

/// What the latest connection that speaks for a client says, as newer than what was known.
fn last_said(
    said: &BTreeMap<(ClientId, SessionId), (JsonText, u64)>,
    client: &ClientId,
    known: u64,
) -> Option<Entry> {
    let all = (client.clone(), SessionId(0))..=(client.clone(), SessionId(u64::MAX));
    let ((_, session), (state, clock)) = said.range(all).next_back()?;
    let owner = Owner::Session(*session);
    Some(Entry {
        state: state.clone(),
        clock: (*clock).max(known.saturating_add(1)),
        owner,
        until: None,
    })
}

#[cfg(test)]
mod tests;
