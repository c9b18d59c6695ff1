//! Compares the open documents with the store they are in. What got lost between nodes shows here,
//! and that the store is another one, or has gone back.

use std::collections::HashMap;
use std::sync::Arc;

use synckit_engine::ids::DocumentId;
use synckit_engine::position::Position;
use synckit_store::{Identity, StorageProvider, StoreError};

use super::open_rooms::OpenRooms;

/// Documents in one look: a statement of this size takes some milliseconds.
const DOCUMENTS_AT_ONCE: usize = 2_000;

/// What is known from the looks so far.
#[derive(Debug)]
pub(super) struct Comparison {
    provider: Arc<dyn StorageProvider>,
    identity: Option<Identity>,
    /// What stood in the store at the last look: a room that has not come so far by the next
    /// one has missed it, rather than being about to hear of it.
    before: HashMap<DocumentId, Position>,
    /// Whether the next look takes nothing for granted, since the store may be another.
    is_urgent: bool,
    has_begun_history: bool,
}

/// How much a look is to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Which store it is; at the documents only if that changed.
    Store,
    /// At the documents too.
    Documents,
    /// At the documents, and what is behind was missed for certain.
    Missed,
}

impl Comparison {
    pub(super) fn new(provider: Arc<dyn StorageProvider>) -> Self {
        Self {
            provider,
            identity: None,
            before: HashMap::new(),
            is_urgent: false,
            has_begun_history: false,
        }
    }

    /// Whether the last look began another history, which the rooms have yet to see.
    pub(super) fn has_begun_history(&self) -> bool {
        self.has_begun_history
    }

    /// Looks once; which store it is.
    ///
    /// # Errors
    /// When the store doesn't answer; the next look then takes nothing for granted.
    pub(super) async fn look(
        &mut self,
        rooms: &dyn OpenRooms,
        look: Look,
    ) -> Result<Identity, StoreError> {
        self.has_begun_history = false;
        let looked = self.look_unchecked(rooms, look).await;
        self.is_urgent |= looked.is_err();
        looked
    }

    async fn look_unchecked(
        &mut self,
        rooms: &dyn OpenRooms,
        look: Look,
    ) -> Result<Identity, StoreError> {
        let identity = self.provider.identity().await?;
        let known = self.identity.replace(identity);
        let are_tables_new = known.is_some_and(|known| {
            known.history == identity.history && known.tables != identity.tables
        });
        if are_tables_new {
            self.begin_history(identity, "its tables were made anew").await?;
            return Ok(identity);
        }
        let is_changed = known.is_some_and(|known| known != identity);
        let at_once = look == Look::Missed || self.is_urgent || is_changed;
        if !at_once && look == Look::Store {
            return Ok(identity);
        }
        // Before the store is asked: no room is further than the store was then.
        let standings = rooms.standings();
        let mut heads = HashMap::new();
        for part in standings.chunks(DOCUMENTS_AT_ONCE) {
            let documents: Vec<_> = part.iter().map(|(document, _)| document.clone()).collect();
            let found = self.provider.documents().heads(&documents).await?;
            for ((document, standing), head) in part.iter().zip(found) {
                if went_back(*standing, head) {
                    self.begin_history(identity, "a document ends before where it stood").await?;
                    return Ok(identity);
                }
                let expected = if at_once { head } else { self.before.get(document).copied() };
                rooms.compare(document, head, expected);
                heads.extend(head.map(|head| (document.clone(), head)));
            }
        }
        self.before = heads;
        self.is_urgent = false;
        Ok(identity)
    }

    async fn begin_history(&mut self, seen: Identity, why: &str) -> Result<(), StoreError> {
        tracing::warn!("the store went back ({why}): every open document is read again");
        (self.is_urgent, self.has_begun_history) = (true, true);
        self.provider.begin_history(seen.history).await
    }
}

/// Whether a document of which so much was stored before ends earlier now.
fn went_back(standing: Option<Position>, head: Option<Position>) -> bool {
    let (Some(standing), Some(head)) = (standing, head) else { return false };
    standing.epoch == head.epoch && head.seq < standing.seq
}
