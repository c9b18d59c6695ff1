//! What stores and other nodes give back: the first byte says which form the rest is read as.

use synckit_engine::delta::Delta;
use synckit_engine::ids::{DocumentId, NodeId, SessionId};
use synckit_engine::limits::Limits;
use synckit_engine::peer::PeerMessage;
use synckit_engine::room::{Command, Input, Room};
use synckit_engine::snapshot::Snapshot;
use synckit_engine::time::Moment;

const NOW: u64 = 1_700_000_000_000;

/// Bytes of one of the stored forms.
pub fn stored(bytes: &[u8]) {
    let Some((form, body)) = bytes.split_first() else { return };
    match form % 4 {
        0 => data(body),
        1 => snapshot(body),
        // Nothing gets past the checksum by chance.
        2 => snapshot(&with_checksum(body)),
        _ => peer_message(body),
    }
}

fn data(body: &[u8]) {
    let Ok(text) = std::str::from_utf8(body) else { return };
    if let Ok(changes) = Delta::parse_data(text) {
        crate::frames::data_reads_back(changes);
    }
}

fn with_checksum(body: &[u8]) -> Vec<u8> {
    let mut bytes = [b"SKS\x01", body].concat();
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

fn snapshot(bytes: &[u8]) {
    let Ok(read) = Snapshot::decode(bytes) else { return };
    let written = read.encode().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(Snapshot::decode(&written).unwrap_or_else(|error| panic!("{error}")), read);
    let document = document();
    let mut room = Room::new(document, read, Limits::default());
    let command = Command::Subscribe { request_id: "r".to_owned(), replay: true };
    room.handle(Input::Command { session: SessionId(1), handle: (), command }, &mut Vec::new());
}

fn peer_message(bytes: &[u8]) {
    let Ok((community, message)) = PeerMessage::decode(bytes) else { return };
    if let Some(written) = message.encode(community) {
        let read = PeerMessage::decode(&written).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read, (community, message.clone()));
    }
    let mut room: Room<()> = Room::new(document(), Snapshot::default(), Limits::default());
    let mut effects = Vec::new();
    // Twice, as the bus may.
    for message in [message.clone(), message] {
        let node = NodeId::new("n");
        room.handle(Input::Peer { node, message, now: Moment(0) }, &mut effects);
    }
    room.handle(Input::Tick(Moment(NOW)), &mut effects);
}

fn document() -> DocumentId {
    DocumentId::new("doc").unwrap_or_else(|rule| panic!("{rule}"))
}
