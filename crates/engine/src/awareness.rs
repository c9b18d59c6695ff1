//! Presence: who is here and where their cursor is. Never stored, never acknowledged.

use std::collections::BTreeMap;

use crate::ids::{ClientId, SessionId};
use crate::json::JsonText;
use crate::limits::{AWARENESS_CLIENTS_PER_SESSION_MAX, AWARENESS_ENTRIES_MAX};

/// One client's presence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What the client says of itself, opaque.
    pub state: JsonText,
    /// Its Lamport counter: newer replaces older.
    pub clock: u64,
    /// The connection that speaks for the client.
    pub owner: SessionId,
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
/// An entry lives as long as the connection that owns it: a user who does nothing for hours is
/// still there, one whose connection is gone is not.
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
        self.entries.insert(client.clone(), Entry { state, clock, owner });
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
            Some(entry) if entry.owner != owner || clock <= entry.clock => Err(Refused::Stale),
            Some(_) => Ok(self.entries.remove(client.as_str()).is_some()),
        }
    }

    /// Removes every entry of a connection that is gone. Each comes back with the clock that
    /// makes its removal newer than the entry.
    pub fn disconnect(&mut self, owner: SessionId) -> Vec<(ClientId, u64)> {
        let gone: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.owner == owner)
            .map(|(client, entry)| (client.clone(), entry.clock.saturating_add(1)))
            .collect();
        for (client, _) in &gone {
            self.entries.remove(client.as_str());
        }
        gone
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
}
