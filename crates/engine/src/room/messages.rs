//! What clients read of the document.

use std::collections::BTreeSet;

use crate::delta::Change;
use crate::ids::{ClientId, FieldName};
use crate::json::{JsonText, write_number, write_string};
use crate::limits::FEEDBACK_CLIENTS_MAX;
use crate::wire::ServerMessage;

use super::{Effect, Room};

impl<H> Room<H> {
    /// Sends the current value of each field, once however often it was written.
    pub(super) fn broadcast(
        &self,
        dirty: BTreeSet<FieldName>,
        writers: &BTreeSet<ClientId>,
        effects: &mut Vec<Effect>,
    ) {
        if dirty.is_empty() {
            return;
        }
        let clock = match self.document.stamp() {
            // The document was deleted; clients cannot read a delta whose clock is empty.
            0 => JsonText::from_trusted("{\"server\":1}"),
            _ => self.stamp_clock(writers),
        };
        effects.extend(dirty.into_iter().map(|name| {
            let field = self.document.field(name.as_str());
            let value = field.map_or(Change::Delete, |field| field.value.clone());
            Effect::Broadcast(self.delta(name, value, &clock))
        }));
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
        let others = self.members.values().flat_map(|member| &member.writers);
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
        JsonText::from_trusted(&String::from_utf8(out).unwrap_or_default())
    }

    pub(super) fn state(&self) -> JsonText {
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
        JsonText::from_trusted(&String::from_utf8(out).unwrap_or_default())
    }
}
