//! One document: what the server says of its fields, and own edits on top.

use std::collections::BTreeMap;

use super::Refusal;
use super::awareness::Awareness;
use super::queue::Written;
use crate::message::{ClientMessage, Clock, Json};

/// How far a document is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Standing {
    /// The server has not said yet what is in it, or nobody asked.
    #[default]
    Unknown,
    /// As the server has it, own edits on top.
    Synchronised,
    /// There is no connection; as it was, own edits on top.
    Offline,
    /// The server will not give it.
    Refused(Refusal),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Subscription {
    /// Nobody wants it.
    #[default]
    None,
    /// To be asked for.
    Wanted,
    /// Asked for under this id.
    Asked(String),
    /// To be ended.
    Left,
    Refused(Refusal),
}

/// The newest own edit of a field that the server has not shown yet.
#[derive(Debug)]
struct Own {
    /// None: deleted.
    value: Option<Json>,
    number: u64,
    is_stored: bool,
}

#[derive(Debug, Default)]
pub(super) struct Document {
    fields: BTreeMap<String, Json>,
    own: BTreeMap<String, Own>,
    /// The *F* of the protocol: the greatest entry of the last clock.
    stamp: u64,
    /// Of the last own edit.
    pub(super) number: u64,
    pub(super) subscription: Subscription,
    is_known: bool,
    is_connected: bool,
    pub(super) awareness: Awareness,
}

impl Document {
    pub(super) fn open(&mut self) {
        if matches!(self.subscription, Subscription::None | Subscription::Left) {
            self.subscription = Subscription::Wanted;
        }
    }

    pub(super) fn leave(&mut self) {
        self.subscription = match self.subscription {
            Subscription::Asked(_) => Subscription::Left,
            _ => Subscription::None,
        };
        self.awareness.leave();
    }

    pub(super) fn disconnected(&mut self) {
        self.is_connected = false;
        self.awareness.disconnected();
        self.subscription = match std::mem::take(&mut self.subscription) {
            Subscription::None | Subscription::Left => Subscription::None,
            _ => Subscription::Wanted,
        };
    }

    pub(super) fn next_subscription(
        &mut self,
        name: &str,
        id: impl FnOnce() -> String,
    ) -> Option<ClientMessage> {
        let document_id = name.to_owned();
        match self.subscription {
            Subscription::Wanted => {
                self.subscription = Subscription::Asked(id());
                Some(ClientMessage::Subscribe { document_id })
            }
            Subscription::Left => {
                self.subscription = Subscription::None;
                self.is_connected = false;
                Some(ClientMessage::Unsubscribe { document_id })
            }
            _ => None,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        match &self.subscription {
            Subscription::Refused(refusal) => Standing::Refused(refusal.clone()),
            _ if self.is_connected => Standing::Synchronised,
            _ if self.is_known => Standing::Offline,
            _ => Standing::Unknown,
        }
    }

    /// Greater than the last, and than all that the server has shown.
    pub(super) fn next_number(&self) -> u64 {
        self.number.max(self.stamp) + 1
    }

    pub(super) fn show_own(&mut self, written: &Written) {
        let Written { field, value, number, .. } = written;
        let own = Own { value: value.clone(), number: *number, is_stored: false };
        self.own.insert(field.clone(), own);
    }

    /// It stays shown until the server shows the field, since the acknowledgement comes first.
    pub(super) fn own_is_stored(&mut self, written: &Written) {
        let own = self.own.get_mut(&written.field);
        if let Some(own) = own.filter(|own| own.number == written.number) {
            own.is_stored = true;
        }
    }

    /// What was written before it and is still queued shows again, else what the server says.
    pub(super) fn own_is_refused(&mut self, written: &Written, before: Option<&Written>) {
        if self.own.get(&written.field).is_some_and(|own| own.number == written.number) {
            self.own.remove(&written.field);
            if let Some(before) = before {
                self.show_own(before);
            }
        }
    }

    /// A new beginning: what the server has is all there is.
    pub(super) fn replace(&mut self, state: BTreeMap<String, Json>, clock: &Clock) {
        self.stamp = greatest(clock);
        self.fields = state;
        self.own.retain(|_, own| !own.is_stored);
        self.is_known = true;
        self.is_connected = true;
    }

    pub(super) fn take(&mut self, field: String, value: Json, clock: &Clock) {
        self.stamp = greatest(clock);
        if self.own.get(&field).is_some_and(|own| own.is_stored) {
            self.own.remove(&field);
        }
        if is_deletion(&value) {
            self.fields.remove(&field);
        } else {
            self.fields.insert(field, value);
        }
    }

    pub(super) fn field(&self, field: &str) -> Option<&Json> {
        match self.own.get(field) {
            Some(own) => own.value.as_ref(),
            None => self.fields.get(field),
        }
    }

    pub(super) fn fields(&self) -> BTreeMap<String, Json> {
        let mut shown = self.fields.clone();
        for (field, own) in &self.own {
            match &own.value {
                Some(value) => shown.insert(field.clone(), value.clone()),
                None => shown.remove(field),
            };
        }
        shown
    }
}

fn greatest(clock: &Clock) -> u64 {
    clock.values().copied().max().unwrap_or_default()
}

/// `{"__deleted":true}`, white space aside.
fn is_deletion(value: &Json) -> bool {
    let text = value.get();
    text.contains("__deleted")
        && text.bytes().filter(|byte| !byte.is_ascii_whitespace()).eq(*br#"{"__deleted":true}"#)
}
