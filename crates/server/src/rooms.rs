//! An edit from the mailbox of its room to the commit, and out again to the outboxes.
//!
//! Owns the rooms that are open on this node (`hub`), the task of each (`task`, with its `mailbox`,
//! `windows` and `fan_out`), what they share (`services`: the lanes of `committer`, `compactor`,
//! the `gate` before a store that is away), and how documents are read (`loads`, `loader`). Must not know sockets, frames or HTTP.

mod backoff;
pub(crate) mod committer;
pub(crate) mod compactor;
mod fan_out;
pub(crate) mod gate;
pub(crate) mod hub;
mod input;
pub(crate) mod loader;
pub(crate) mod loads;
pub(crate) mod mailbox;
mod opening;
pub(crate) mod reply;
pub(crate) mod services;
mod task;
mod windows;

use std::sync::Arc;

use synckit_engine::document::Document;
use synckit_engine::ids::DocumentId;
use synckit_engine::position::Position;
use synckit_store::StoreError;

use crate::nodes::{Heard, OpenRooms};
pub(crate) use mailbox::{RoomHandle, RoomMessage};
use services::Services;
use task::RoomTask;

/// The rooms of this node: opened when somebody comes, forgotten when nobody is left.
#[derive(Debug)]
pub(crate) struct Rooms {
    services: Arc<Services>,
}

impl Rooms {
    pub(crate) fn new(services: Services) -> Self {
        Self { services: Arc::new(services) }
    }

    /// The room of a document, opened if it isn't yet.
    pub(crate) fn room(&self, document: &DocumentId) -> RoomHandle {
        let services = &self.services;
        services.hub.room(document, |queues| {
            let task = RoomTask::new(Arc::clone(services), document.clone(), queues);
            services.shutdown.rooms.spawn(task::run(task));
        })
    }

    /// Why edits can't be stored, as far as rooms and lanes have found out.
    pub(crate) fn complaint(&self) -> Option<String> {
        let Services { gate, committer, .. } = &*self.services;
        let outage = gate.writes_outage().map(|outage| outage.error.to_string());
        outage.or_else(|| committer.complaint())
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.services.hub.rooms_open()
    }
}

#[async_trait::async_trait]
impl OpenRooms for Rooms {
    fn give(&self, document: &DocumentId, heard: Heard) {
        self.services.hub.give(document, heard);
    }

    fn give_all(&self, heard: &Heard) {
        self.services.hub.give_all(heard);
    }

    fn standings(&self) -> Vec<(DocumentId, Option<Position>)> {
        self.services.hub.standings()
    }

    fn compare(&self, document: &DocumentId, head: Option<Position>, expected: Option<Position>) {
        self.services.hub.compare(document, head, expected);
    }

    async fn stored(&self, document: &DocumentId) -> Result<Document, StoreError> {
        let loaded = self.services.loads.whole(document).await?;
        Ok(loaded.snapshot.document)
    }
}
