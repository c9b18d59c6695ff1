//! What clients read of the document.

use std::collections::BTreeSet;

use crate::delta::{Change, WriteKey};
use crate::ids::{ClientId, DocumentId, FieldName, SessionId};
use crate::json::{JsonText, write_number, write_string};
use crate::limits::FEEDBACK_CLIENTS_MAX;
use crate::wire::ServerMessage;

use super::dirty::{Dirty, Relayed, RelayedKind};
use super::{Effect, Room};

impl<H> Room<H> {
    /// The whole state; then, for clients that read no state, its fields one by one; then what no
    /// state shows.
    pub(super) fn answer_subscribe(
        &mut self,
        session: SessionId,
        request_id: String,
        replay: bool,
        effects: &mut Vec<Effect>,
    ) {
        let clock = self.stamp_clock(&BTreeSet::new());
        let text = self.text_string().map(|text| (text, self.document.collections().text_time()));
        let mut messages = vec![ServerMessage::SyncResponse {
            request_id,
            document: self.id.clone(),
            state: self.state(),
            clock: clock.clone(),
            text,
        }];
        if replay {
            messages.extend(self.document.live_fields().map(|(field, value)| {
                let value = Change::Set(value.clone());
                self.delta(field.clone(), value, &clock)
            }));
            let collections = self.document.collections();
            let mut operations = Vec::new();
            if !collections.set().is_untouched() {
                operations = self.set_operations(true, &BTreeSet::new(), &clock);
            }
            operations.extend(collections.formats().map(|(_, format)| format.operation.clone()));
            if !operations.is_empty() {
                messages.push(self.batch(operations, false));
            }
        }
        effects.extend(messages.into_iter().map(|message| Effect::Send(session, message)));
    }

    /// Sends what changed, each value once however often it was written.
    pub(super) fn broadcast(
        &mut self,
        dirty: Dirty,
        writers: &BTreeSet<ClientId>,
        effects: &mut Vec<Effect>,
    ) {
        let messages = self.current(&dirty, writers);
        effects.extend(messages.into_iter().map(Effect::Broadcast));
        for Relayed { key, kind } in dirty.relayed {
            let operation = match kind {
                RelayedKind::Count(amount) => self.count(&key, amount),
                RelayedKind::Format(operation) => operation,
            };
            effects.push(Effect::Relay(key.client, self.batch(vec![operation], false)));
        }
        if dirty.has_text {
            self.text_string = None;
            self.show_text(effects);
        }
    }

    /// The present values of what changed, apart from the text.
    pub(super) fn current(
        &self,
        dirty: &Dirty,
        writers: &BTreeSet<ClientId>,
    ) -> Vec<ServerMessage> {
        if dirty.is_empty() {
            return Vec::new();
        }
        let clock = match self.document.stamp() {
            // The document was deleted; clients cannot read a delta whose clock is empty.
            0 => JsonText::from_trusted("{\"server\":1}"),
            _ => self.stamp_clock(writers),
        };
        let fields = dirty.fields.iter().map(|name| {
            let field = self.document.field(name.as_str());
            let value = field.map_or(Change::Delete, |field| field.value.clone());
            self.delta(name.clone(), value, &clock)
        });
        let mut messages: Vec<_> = fields.collect();
        if dirty.is_cleared || !dirty.elements.is_empty() {
            let operations = self.set_operations(dirty.is_cleared, &dirty.elements, &clock);
            messages.push(self.batch(operations, false));
        }
        messages
    }

    /// The text for everyone, its writers too: what they have may be less than the whole.
    pub(super) fn text_message(&mut self) -> Option<ServerMessage> {
        let state = self.text_string()?;
        let clock = self.stamp_clock(&BTreeSet::new());
        let time = self.document.collections().text_time();
        let mut out = b"{\"type\":\"text-state\",\"state\":".to_vec();
        out.extend_from_slice(state.as_str().as_bytes());
        write_origin(&mut out, &self.id, &ClientId::server(), time, &clock);
        Some(self.batch(vec![text_of(out)], true))
    }

    /// The text as clients read it; none where there is no text.
    fn text_string(&mut self) -> Option<JsonText> {
        let text = self.document.collections().text();
        if text.is_empty() {
            return None;
        }
        Some(self.text_string.get_or_insert_with(|| {
            let state = text.to_json(ClientId::server().as_str());
            let mut out = Vec::with_capacity(state.len() + state.len() / 4);
            write_string(&mut out, &state);
            text_of(out)
        }))
        .cloned()
    }

    /// A counter's operation as its client wrote it.
    fn count(&self, key: &WriteKey, amount: i64) -> JsonText {
        let name = if amount < 0 { "decrement" } else { "increment" };
        let mut out =
            format!("{{\"type\":\"counter\",\"operation\":\"{name}\",\"value\":").into_bytes();
        write_number(&mut out, amount.unsigned_abs());
        let mut clock = b"{".to_vec();
        write_string(&mut clock, key.client.as_str());
        clock.push(b':');
        write_number(&mut clock, key.number.0);
        clock.push(b'}');
        write_origin(&mut out, &self.id, &key.client, key.timestamp, &text_of(clock));
        text_of(out)
    }

    fn batch(&self, operations: Vec<JsonText>, text: bool) -> ServerMessage {
        ServerMessage::DeltaBatch { document: self.id.clone(), operations, text }
    }

    /// What makes a reader's set the same as this one: of some values, or all.
    fn set_operations(
        &self,
        is_whole: bool,
        elements: &BTreeSet<JsonText>,
        clock: &JsonText,
    ) -> Vec<JsonText> {
        let collections = self.document.collections();
        let set = collections.set();
        let operation = |name: &str, value: Option<&JsonText>| {
            let mut out = b"{\"type\":\"set\",\"operation\":\"".to_vec();
            out.extend_from_slice(name.as_bytes());
            out.push(b'"');
            if let Some(value) = value {
                out.extend_from_slice(b",\"value\":");
                out.extend_from_slice(value.as_str().as_bytes());
            }
            let time = set.time();
            write_origin(&mut out, &self.id, &ClientId::server(), time, clock);
            text_of(out)
        };
        if is_whole {
            let adds = set.elements().map(|value| operation("add", Some(value)));
            return std::iter::once(operation("clear", None)).chain(adds).collect();
        }
        let name = |value| if set.contains(value) { "add" } else { "remove" };
        elements.iter().map(|value| operation(name(value), Some(value))).collect()
    }

    pub(super) fn delta(&self, field: FieldName, value: Change, clock: &JsonText) -> ServerMessage {
        ServerMessage::Delta { document: self.id.clone(), field, value, clock: clock.clone() }
    }

    /// The document stamp under `server` and under those who write here, so that their next own
    /// edit counts higher than everything they have seen. Empty while nobody has written.
    pub(super) fn stamp_clock(&self, first: &BTreeSet<ClientId>) -> JsonText {
        let stamp = self.document.stamp();
        if stamp == 0 {
            return JsonText::from_trusted("{}");
        }
        let others = self.followers.values().flat_map(|follower| &follower.writers);
        let named: BTreeSet<_> = first.iter().chain(others).take(FEEDBACK_CLIENTS_MAX).collect();
        let mut out = Vec::with_capacity(32 * (1 + named.len()));
        out.extend_from_slice(b"{\"server\":");
        write_number(&mut out, stamp);
        for client in named {
            out.push(b',');
            write_string(&mut out, client.as_str());
            out.push(b':');
            write_number(&mut out, stamp);
        }
        out.push(b'}');
        text_of(out)
    }

    /// The document as JSON, written once for all who join before it changes.
    pub(super) fn state(&mut self) -> JsonText {
        if let Some(state) = &self.state {
            return state.clone();
        }
        let state = self.write_state();
        self.state = Some(state.clone());
        state
    }

    fn write_state(&self) -> JsonText {
        let mut out = Vec::with_capacity(1024);
        out.push(b'{');
        for (at, (name, value)) in self.document.live_fields().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_string(&mut out, name.as_str());
            out.push(b':');
            out.extend_from_slice(value.as_str().as_bytes());
        }
        out.push(b'}');
        text_of(out)
    }
}

/// The rest of an operation: where, by whom, when.
fn write_origin(
    out: &mut Vec<u8>,
    document: &DocumentId,
    client: &ClientId,
    time: u64,
    clock: &JsonText,
) {
    out.extend_from_slice(b",\"documentId\":");
    write_string(out, document.as_str());
    out.extend_from_slice(b",\"clientId\":");
    write_string(out, client.as_str());
    out.extend_from_slice(b",\"timestamp\":");
    write_number(out, time);
    out.extend_from_slice(b",\"clock\":");
    out.extend_from_slice(clock.as_str().as_bytes());
    out.push(b'}');
}

/// Made of str parts and ASCII only.
fn text_of(out: Vec<u8>) -> JsonText {
    JsonText::from_trusted(&String::from_utf8(out).unwrap_or_default())
}
