//! Writes the inputs that a search begins with: `seeds FOLDER`, one folder in it for each target.
//!
//! They are the golden frames of the protocol, the stored snapshot of the engine's tests, and one
//! message of each kind between nodes.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use synckit_engine::clock::EditNumber;
use synckit_engine::delta::{Change, Delta, DeltaId};
use synckit_engine::ids::{ClientId, DocumentId, FieldName};
use synckit_engine::json::JsonText;
use synckit_engine::peer::PeerMessage;
use synckit_engine::position::{Epoch, Position, Seq};
use synckit_engine::text::TextState;

/// The first byte of an input for `stored`.
const DATA: u8 = 0;
const SNAPSHOT: u8 = 1;
const SNAPSHOT_WITHOUT_CHECKSUM: u8 = 2;
const PEER_MESSAGE: u8 = 3;

/// The first byte of an input for `text`.
const TEXT_JSON: u8 = 0;
const TEXT_STORED: u8 = 1;
const TEXT_PLAN: u8 = 2;

/// Steps of a plan for `connection`.
const SAY_BYTES: u8 = 0;
const STORE_ALL: u8 = 10;

const SNAPSHOT_HEADER_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 4;

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1);
    let folder = PathBuf::from(folder.ok_or_else(|| io::Error::other("usage: seeds FOLDER"))?);
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests");
    frames(&folder, &std::fs::read(tests.join("vectors.json"))?)?;
    snapshots(&folder, &std::fs::read(tests.join("fixtures/snapshot-v1.bin"))?)?;
    texts(&folder)?;
    peer_messages(&folder)
}

fn write(folder: &Path, target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = folder.join(target);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(format!("seed-{name}")), bytes)
}

fn frames(folder: &Path, vectors: &[u8]) -> io::Result<()> {
    let vectors: Value = serde_json::from_slice(vectors)?;
    let frames = vectors["frames"].as_array().map(Vec::as_slice).unwrap_or_default();
    for frame in frames {
        let name = frame["name"].as_str().unwrap_or_default();
        let (target, bytes) = match (frame["framing"].as_str(), frame["text"].as_str()) {
            (Some("binary"), _) => ("binary_frame", bytes_of(frame["hex"].as_str())),
            (_, text) => ("json_frame", text.unwrap_or_default().as_bytes().to_vec()),
        };
        write(folder, target, name, &bytes)?;
        write(folder, "connection", name, &plan(target == "binary_frame", &bytes))?;
    }
    Ok(())
}

fn bytes_of(hex: Option<&str>) -> Vec<u8> {
    let digits: Vec<_> = hex.unwrap_or_default().chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).filter_map(|pair| u8::try_from(pair[0] << 4 | pair[1]).ok()).collect()
}

/// One connection says it, the store takes what comes of it.
fn plan(is_binary: bool, frame: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(frame.len()).unwrap_or(u16::MAX).to_be_bytes();
    let settings = 0;
    let head = [settings, SAY_BYTES, 0, u8::from(is_binary), high, low];
    [&head[..], frame, &[STORE_ALL, 0, STORE_ALL, 1]].concat()
}

fn snapshots(folder: &Path, stored: &[u8]) -> io::Result<()> {
    write(folder, "stored", "snapshot", &[&[SNAPSHOT], stored].concat())?;
    let body = &stored[SNAPSHOT_HEADER_BYTES..stored.len() - CHECKSUM_BYTES];
    write(folder, "stored", "content", &[&[SNAPSHOT_WITHOUT_CHECKSUM], body].concat())
}

fn texts(folder: &Path) -> io::Result<()> {
    let id = |clock| format!("{{\"client_id\":\"ann\",\"clock\":{clock},\"offset\":0}}");
    let block = |clock, text| {
        let (id, origin) = (id(clock), id(1));
        format!(
            "[{id},{{\"id\":{id},\"text\":\"{text}\",\"left_origin\":{origin},\
             \"right_origin\":null,\"deleted\":false}}]"
        )
    };
    let blocks = [block(2, "ab"), block(3, "é")].join(",");
    let json = format!("{{\"blocks\":[{blocks}],\"clock\":{{\"value\":3}},\"client_id\":\"ann\"}}");
    let text = TextState::parse(&json).map_err(io::Error::other)?;
    let stored = postcard::to_extend(&text, Vec::new()).map_err(io::Error::other)?;
    write(folder, "text", "json", &[&[TEXT_JSON], json.as_bytes()].concat())?;
    write(folder, "text", "stored", &[&[TEXT_STORED], &stored[..]].concat())?;
    write(folder, "text", "plan", &[TEXT_PLAN, 2, 0, 1, 0, 0, 0, 0, 0, 1, 3, 1, 1, 0])
}

fn peer_messages(folder: &Path) -> io::Result<()> {
    let ann = ClientId::new("ann").map_err(io::Error::other)?;
    let delta = Delta {
        id: DeltaId::new("d"),
        client: ann.clone(),
        number: EditNumber(3),
        timestamp: 1_700_000_000_000,
        changes: vec![
            (FieldName::new("x").map_err(io::Error::other)?, Change::Set(JsonText::null())),
            (FieldName::new("y").map_err(io::Error::other)?, Change::Delete),
        ]
        .into(),
    };
    write(folder, "stored", "data", &[&[DATA], delta.data().as_bytes()].concat())?;
    let (epoch, seq) = (Epoch(9), Seq(1));
    let document = DocumentId::new("doc").map_err(io::Error::other)?;
    let entries = vec![(ann.clone(), Some(JsonText::null()), 3), (ann, None, 4)];
    let messages = [
        PeerMessage::Stored { epoch, deltas: vec![(seq, delta.clone())] },
        PeerMessage::Head(Position { epoch, seq }),
        PeerMessage::Awareness { is_repeated: false, entries },
        PeerMessage::AwarenessAsked,
        PeerMessage::DocumentAsked(document),
        PeerMessage::DocumentHeld { deltas: vec![delta], is_last: true },
    ];
    for (at, message) in messages.iter().enumerate() {
        let bytes = message.encode(7).unwrap_or_default();
        write(folder, "stored", &format!("peer-{at}"), &[&[PEER_MESSAGE], &bytes[..]].concat())?;
    }
    Ok(())
}
