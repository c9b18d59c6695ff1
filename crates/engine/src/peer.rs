//! What the nodes of one community tell each other.
//!
//! Every one of these may be lost, repeated, delayed or overtaken by another. None is needed to
//! converge where the store is shared: they make it quick.

use serde::{Deserialize, Serialize};

use crate::delta::Delta;
use crate::ids::{ClientId, DocumentId};
use crate::json::JsonText;
use crate::position::{Epoch, Position, Seq};

/// The form of the bytes. A node drops what it does not read: another version is a lost message.
/// No kind of message has such a number, so that one is never taken for the other.
const VERSION: u8 = 0x83;

/// Bytes of one message. A longer one is not worth its way: the others read the store instead.
pub const PEER_MESSAGE_BYTES_MAX: usize = 256 << 10;

/// What one node tells the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// These were stored.
    Stored {
        /// In which life of the document.
        epoch: Epoch,
        /// Numbered, in order.
        deltas: Vec<(Seq, Delta)>,
    },
    /// The store stands here; read it.
    Head(Position),
    /// Awareness of clients of the sender.
    Awareness {
        /// Whether this was said before; else it changed.
        is_repeated: bool,
        /// Each with its state, none when it is gone, and its clock.
        entries: Vec<(ClientId, Option<JsonText>, u64)>,
    },
    /// Say who is there, please: the sender has opened the document, or missed something.
    AwarenessAsked,
    /// The sender is there.
    Alive,
    /// The sender stops; its clients are on their way to others.
    Leaving,
    /// Where no store is shared: say what you have of this document.
    DocumentAsked(DocumentId),
    /// The answer, in parts.
    DocumentHeld {
        /// Some of the deltas that make up the document.
        deltas: Vec<Delta>,
        /// Whether this is the last part.
        is_last: bool,
    },
}

/// Bytes that are no message this program can read.
#[derive(Debug, thiserror::Error)]
#[error("not a message between nodes of this version")]
pub struct Unreadable;

impl PeerMessage {
    /// The bytes, unless there are more than [`PEER_MESSAGE_BYTES_MAX`]. `community` marks the store
    /// of the sender: numbers mean nothing to those who have another.
    #[must_use]
    pub fn encode(&self, community: u64) -> Option<Vec<u8>> {
        let bytes = postcard::to_extend(&(community, self), vec![VERSION]).ok()?;
        (bytes.len() <= PEER_MESSAGE_BYTES_MAX).then_some(bytes)
    }

    /// Reads the bytes: the mark of the sender's community, and what it says.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn decode(bytes: &[u8]) -> Result<(u64, Self), Unreadable> {
        match bytes.split_first() {
            Some((&VERSION, body)) => postcard::from_bytes(body).map_err(|_| Unreadable),
            _ => Err(Unreadable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::EditNumber;
    use crate::delta::{Change, Changes, DeltaId};
    use crate::ids::FieldName;

    #[test]
    fn every_message_reads_as_it_was_written() {
        let ann = ClientId::new("ann").unwrap();
        let delta = Delta {
            id: DeltaId::new("d"),
            client: ann.clone(),
            number: EditNumber(3),
            timestamp: 1_790_000_000_000,
            changes: Changes::Fields(vec![
                (FieldName::new("a").unwrap(), Change::Set(JsonText::parse("1e400").unwrap())),
                (FieldName::new("b").unwrap(), Change::Delete),
            ]),
        };
        for message in [
            PeerMessage::Stored { epoch: Epoch(9), deltas: vec![(Seq(4), delta.clone())] },
            PeerMessage::Head(Position { epoch: Epoch(9), seq: Seq(4) }),
            PeerMessage::Awareness { is_repeated: true, entries: vec![(ann, None, 3)] },
            PeerMessage::AwarenessAsked,
            PeerMessage::Alive,
            PeerMessage::Leaving,
            PeerMessage::DocumentAsked(DocumentId::new("doc").unwrap()),
            PeerMessage::DocumentHeld { deltas: vec![delta], is_last: true },
        ] {
            let bytes = message.encode(u64::MAX).unwrap();
            assert_eq!(PeerMessage::decode(&bytes).unwrap(), (u64::MAX, message));
            assert!(PeerMessage::decode(bytes.get(1..).unwrap()).is_err(), "without its version");
        }
    }

    #[test]
    fn the_bytes_of_a_message_do_not_change() {
        let delta = Delta {
            id: DeltaId::new("d"),
            client: ClientId::new("ann").unwrap(),
            number: EditNumber(300),
            timestamp: 5,
            changes: Changes::Count(-2),
        };
        let unnumbered = Delta { number: EditNumber(0), ..delta.clone() };
        let deltas = vec![(Seq(4), delta), (Seq(5), unnumbered)];
        let message = PeerMessage::Stored { epoch: Epoch(9), deltas };
        let bytes = b"\x83\x05\x00\x09\x02\
            \x04\x01d\x03ann\x01\x03ann\xac\x02\x05\x02\x03\
            \x05\x01d\x03ann\x00\x05\x02\x03";
        assert_eq!(message.encode(5).unwrap(), bytes);
        assert_eq!(PeerMessage::decode(bytes).unwrap(), (5, message));
    }

    #[test]
    fn what_is_too_long_is_not_sent() {
        let text = JsonText::parse(&format!("\"{}\"", "x".repeat(PEER_MESSAGE_BYTES_MAX))).unwrap();
        let entries = vec![(ClientId::new("ann").unwrap(), Some(text), 1)];
        assert_eq!(PeerMessage::Awareness { is_repeated: false, entries }.encode(0), None);
    }
}
