//! Messages to other nodes, cut into parts that a bus takes.

use synckit_engine::delta::Delta;
use synckit_engine::document::Document;
use synckit_engine::peer::PeerMessage;
use synckit_engine::position::Position;

/// Bytes of changes after which a part of an answer is sent.
const PART_BYTES: usize = 64 << 10;

/// The message in parts that are small enough; what can't be divided is replaced by a hint.
pub(super) fn fitting(message: PeerMessage) -> Vec<PeerMessage> {
    match message {
        PeerMessage::Stored { epoch, deltas } => {
            let bytes: usize = deltas.iter().map(|(_, delta)| size(delta)).sum();
            match deltas.last() {
                Some((seq, _)) if bytes > PART_BYTES => {
                    vec![PeerMessage::Head(Position { epoch, seq: *seq })]
                }
                _ => vec![PeerMessage::Stored { epoch, deltas }],
            }
        }
        PeerMessage::Awareness { is_repeated, entries } => {
            let size = |entry: &(_, Option<synckit_engine::json::JsonText>, u64)| {
                entry.1.as_ref().map_or(0, |state| state.as_str().len())
            };
            let parts = split(entries, size);
            let message = |entries| PeerMessage::Awareness { is_repeated, entries };
            parts.into_iter().map(message).collect()
        }
        message => vec![message],
    }
}

/// A document as the deltas that won, in parts.
pub(super) fn held(document: &Document) -> Vec<PeerMessage> {
    let mut parts = split(document.to_deltas(PART_BYTES), size);
    if parts.is_empty() {
        parts.push(Vec::new());
    }
    let last = parts.len() - 1;
    let part = |(at, deltas)| PeerMessage::DocumentHeld { deltas, is_last: at == last };
    parts.into_iter().enumerate().map(part).collect()
}

fn size(delta: &Delta) -> usize {
    delta.changes.size()
}

/// Parts of about [`PART_BYTES`].
fn split<T>(items: Vec<T>, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let more = size(&item);
        match parts.last_mut() {
            Some(part) if bytes + more <= PART_BYTES => {
                bytes += more;
                part.push(item);
            }
            _ => {
                bytes = more;
                parts.push(vec![item]);
            }
        }
    }
    parts
}
