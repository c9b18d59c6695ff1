//! Who is in a document, and what this client says of itself there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::message::{AwarenessEntry, ClientMessage, Json};

/// The least time between two own states; the newest is sent.
const STATES_APART: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(super) struct Awareness {
    all: BTreeMap<String, Json>,
    own: Own,
    is_followed: bool,
    /// Whether this connection asked who is here.
    is_asked: bool,
    /// Counts own states over all connections.
    clock: u64,
    sent_at: Option<Instant>,
    /// What was said last, and under which id.
    last_said: Option<(String, Option<Json>)>,
}

#[derive(Debug, Default)]
enum Own {
    /// Nothing was said, or it was said that this client leaves.
    #[default]
    Nothing,
    /// To be said.
    Unsent(Option<Json>),
    Sent(Json),
}

impl Awareness {
    pub(super) fn all(&self) -> &BTreeMap<String, Json> {
        &self.all
    }

    pub(super) fn follow(&mut self) {
        self.is_followed = true;
    }

    pub(super) fn set_own(&mut self, state: Option<Json>) {
        self.follow();
        self.own = Own::Unsent(state);
    }

    /// Forgets all but the count, which goes on for as long as the client id does.
    pub(super) fn leave(&mut self) {
        *self = Self { clock: self.clock, ..Self::default() };
    }

    pub(super) fn take(&mut self, client: String, state: Option<Json>) {
        match state {
            Some(state) => self.all.insert(client, state),
            None => self.all.remove(&client),
        };
    }

    pub(super) fn replace(&mut self, states: Vec<AwarenessEntry>) {
        self.all = states.into_iter().map(|entry| (entry.client_id, entry.state)).collect();
    }

    /// Has the own state said again, if this is the id of the last one; whether it is.
    pub(super) fn send_again(&mut self, message_id: &str) -> bool {
        let is_last = |said: &mut (String, Option<Json>)| said.0 == message_id;
        let Some((_, state)) = self.last_said.take_if(is_last) else { return false };
        // What was set meanwhile is newer.
        if !matches!(self.own, Own::Unsent(_)) {
            self.own = Own::Unsent(state);
        }
        true
    }

    /// The server forgets what a connection said when that has ended.
    pub(super) fn disconnected(&mut self) {
        self.is_asked = false;
        self.sent_at = None;
        self.own = match std::mem::take(&mut self.own) {
            Own::Sent(state) | Own::Unsent(Some(state)) => Own::Unsent(Some(state)),
            Own::Nothing | Own::Unsent(None) => Own::Nothing,
        };
    }

    pub(super) fn next_message(
        &mut self,
        document: &str,
        client_id: &str,
        id: impl FnOnce() -> String,
        now: Instant,
    ) -> Option<ClientMessage> {
        let document_id = document.to_owned();
        if self.is_followed && !self.is_asked {
            self.is_asked = true;
            return Some(ClientMessage::AwarenessSubscribe { document_id });
        }
        if self.sent_at.is_some_and(|sent_at| now < sent_at + STATES_APART) {
            return None;
        }
        let state = match std::mem::take(&mut self.own) {
            Own::Unsent(state) => state,
            other => {
                self.own = other;
                return None;
            }
        };
        self.sent_at = Some(now);
        self.clock += 1;
        self.last_said = Some((id(), state.clone()));
        let client_id = client_id.to_owned();
        self.own = state.clone().map_or(Own::Nothing, Own::Sent);
        Some(ClientMessage::AwarenessUpdate { document_id, client_id, state, clock: self.clock })
    }

    /// When an own state that waits may be sent.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let is_waiting = matches!(self.own, Own::Unsent(_));
        self.sent_at.filter(|_| is_waiting).map(|sent_at| sent_at + STATES_APART)
    }
}
