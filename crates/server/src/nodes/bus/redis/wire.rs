//! Names of channels and the form of messages in Redis.

use bytes::{BufMut, Bytes, BytesMut};
use synckit_engine::ids::{DocumentId, NodeId};

use super::super::Channel;

/// First byte of a message; a node that finds another one there ignores the message.
const VERSION: u8 = 1;

/// Version and length of the node's id.
const HEADER_BYTES: usize = 3;

/// Slots of a Redis Cluster, by its specification.
pub(super) const SLOTS: u16 = 16_384;

/// The names of channels, which all begin with the same prefix.
#[derive(Debug, Clone)]
pub(super) struct Names {
    delta: String,
    awareness: String,
    nodes: String,
}

/// What the name of a channel says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name<'a> {
    Delta(&'a str),
    Awareness(&'a str),
    Nodes,
}

impl Names {
    /// Publish/subscribe knows no databases, so another one than the first is named.
    pub(super) fn new(prefix: &str, database: u16) -> Self {
        let prefix = match database {
            0 => prefix.to_owned(),
            number => format!("{prefix}db{number}:"),
        };
        Self {
            delta: format!("{prefix}delta:"),
            awareness: format!("{prefix}awareness:"),
            nodes: format!("{prefix}nodes"),
        }
    }

    pub(super) fn nodes(&self) -> &str {
        &self.nodes
    }

    /// The two channels that a node hears while it has the document open.
    pub(super) fn of_document(&self, document: &DocumentId) -> [String; 2] {
        [format!("{}{document}", self.delta), format!("{}{document}", self.awareness)]
    }

    /// Channels that nobody hears, since no document has an empty id: to try out permissions.
    pub(super) fn of_nothing(&self) -> [&str; 2] {
        [&self.delta, &self.awareness]
    }

    pub(super) fn of(&self, channel: &Channel) -> String {
        match channel {
            Channel::Delta(document) => format!("{}{document}", self.delta),
            Channel::Awareness(document) => format!("{}{document}", self.awareness),
            Channel::Nodes => self.nodes.clone(),
        }
    }

    pub(super) fn read<'a>(&self, name: &'a [u8]) -> Option<Name<'a>> {
        let name = std::str::from_utf8(name).ok()?;
        if name == self.nodes {
            return Some(Name::Nodes);
        }
        if let Some(document) = name.strip_prefix(&self.delta) {
            return Some(Name::Delta(document));
        }
        name.strip_prefix(&self.awareness).map(Name::Awareness)
    }
}

pub(super) fn encode(node: &NodeId, payload: &[u8]) -> Bytes {
    // Ids are drawn by this server; one that is too long would arrive as a broken message.
    let id = node.as_str().as_bytes();
    let length = u16::try_from(id.len()).unwrap_or(u16::MAX);
    let mut message = BytesMut::with_capacity(HEADER_BYTES + id.len() + payload.len());
    message.put_u8(VERSION);
    message.put_u16(length);
    message.put_slice(id);
    message.put_slice(payload);
    message.freeze()
}

/// The node's id and the payload; `None` for what [`encode`] did not make.
pub(super) fn decode(message: &Bytes) -> Option<(&str, Bytes)> {
    let [VERSION, high, low, ..] = message[..] else { return None };
    let end = HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
    let id = std::str::from_utf8(message.get(HEADER_BYTES..end)?).ok()?;
    Some((id, message.slice(end..)))
}

/// The slot of a channel, by the specification of Redis Cluster: only what is between the first
/// pair of braces counts, if there is something.
pub(super) fn slot(name: &str) -> u16 {
    let tagged = name.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let hashed = tagged.map(|(tag, _)| tag).filter(|tag| !tag.is_empty()).unwrap_or(name);
    crc16(hashed.as_bytes()) % SLOTS
}

/// CRC-16/XMODEM, as the specification of Redis Cluster asks for.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_of_one_redis_have_channels_of_their_own() {
        let of = |database| Names::new("synckit:", database);
        assert_eq!(of(0).nodes(), "synckit:nodes");
        assert_eq!(of(1).nodes(), "synckit:db1:nodes");
        let of_document = of(1).of_document(&DocumentId::new("doc").unwrap());
        assert_eq!(of_document, ["synckit:db1:delta:doc", "synckit:db1:awareness:doc"]);
        assert_eq!(of(0).read(b"synckit:db1:nodes"), None);
        assert_eq!(of(1).read(b"synckit:nodes"), None);
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let message = encode(&NodeId::new("node-é"), b"payload");
        assert_eq!(decode(&message), Some(("node-é", Bytes::from_static(b"payload"))));
        let empty = encode(&NodeId::new(""), b"");
        assert_eq!(decode(&empty), Some(("", Bytes::new())));
    }

    #[test]
    fn broken_and_foreign_messages_are_no_messages() {
        for broken in [
            &b""[..],
            b"\x01",
            b"\x01\0",
            b"\x02\0\x01n",
            b"\x01\0\x02n",
            b"\x01\0\x01\xff",
            b"hello",
        ] {
            assert_eq!(decode(&Bytes::copy_from_slice(broken)), None, "{broken:?}");
        }
    }

    #[test]
    fn names_say_what_a_channel_is_about() {
        let names = Names::new("synckit:", 0);
        let document = DocumentId::new("room:nodes").unwrap();
        for (channel, name, meaning) in [
            (Channel::Nodes, "synckit:nodes", Name::Nodes),
            (
                Channel::Delta(document.clone()),
                "synckit:delta:room:nodes",
                Name::Delta("room:nodes"),
            ),
            (
                Channel::Awareness(document),
                "synckit:awareness:room:nodes",
                Name::Awareness("room:nodes"),
            ),
        ] {
            assert_eq!(names.of(&channel), name);
            assert_eq!(names.read(name.as_bytes()), Some(meaning));
        }
        for foreign in [&b"other:nodes"[..], b"synckit:", b"synckit:nodes:", b"\xff"] {
            assert_eq!(names.read(foreign), None);
        }
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot("foo"), 12_182);
        assert_eq!(slot("{user1000}.following"), slot("{user1000}.followers"));
        assert_eq!(slot("foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot("foo{{bar}}zap"), crc16(b"{bar") % SLOTS);
    }
}
