//! What the engine costs without IO: `cargo bench -p synckit-engine --bench engine`.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has no result")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use synckit_engine::clock::EditNumber;
use synckit_engine::delta::{Change, Changes, Delta, DeltaId};
use synckit_engine::document::Document;
use synckit_engine::ids::{ClientId, DocumentId, FieldName, SessionId};
use synckit_engine::json::JsonText;
use synckit_engine::limits::Limits;
use synckit_engine::position::{Delivery, Epoch, Position, Seq};
use synckit_engine::room::{self, Command, Input, Room, StoredEdit};
use synckit_engine::session::{self, Identity, Session};
use synckit_engine::snapshot::Snapshot;
use synckit_engine::text::TextState;
use synckit_engine::time::{Moment, Now};
use synckit_engine::wire::{FrameKind, Framing, Outgoing, ServerMessage, decode, encode};

const NOW: u64 = 1_700_000_000_000;
const FIELDS: u64 = 10_000;

/// A `delta` as SDK 0.1.1 sends it, about 200 bytes with its header.
fn payload() -> String {
    format!(
        "{{\"type\":\"set\",\"documentId\":\"doc-1\",\"field\":\"title\",\"value\":\"Hello, world\",\
         \"clock\":{{\"client-a\":1}},\"clientId\":\"client-a\",\"timestamp\":{NOW},\
         \"messageId\":\"msg-lp0k3z7k-abc123def45\"}}"
    )
}

fn frame(framing: Framing) -> Vec<u8> {
    let payload = payload();
    match framing {
        Framing::Binary => {
            let mut frame = vec![0x20];
            frame.extend_from_slice(&NOW.to_be_bytes());
            frame.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
            frame.extend_from_slice(payload.as_bytes());
            frame
        }
        Framing::Json => payload.replace("\"type\":\"set\"", "\"type\":\"delta\"").into_bytes(),
    }
}

/// What everyone gets when that delta is stored.
fn broadcast() -> ServerMessage {
    ServerMessage::Delta {
        document: DocumentId::new("doc-1").unwrap(),
        field: FieldName::new("title").unwrap(),
        value: Change::Set(JsonText::parse("\"Hello, world\"").unwrap()),
        clock: JsonText::parse("{\"server\":8,\"client-a\":8}").unwrap(),
    }
}

fn codec(bench: &mut Criterion) {
    let about = Outgoing { now: NOW, serial: 123_456 };
    let message = broadcast();
    let mut out = Vec::with_capacity(1024);
    for (name, framing) in [("binary", Framing::Binary), ("json", Framing::Json)] {
        let frame = frame(framing);
        bench.bench_function(&format!("codec/{name}/decode of {} bytes", frame.len()), |bench| {
            bench.iter(|| decode(framing, black_box(&frame)).unwrap());
        });
        bench.bench_function(&format!("codec/{name}/encode"), |bench| {
            bench.iter(|| {
                out.clear();
                encode(black_box(&message), framing, about, &mut out);
                black_box(&out);
            });
        });
        bench.bench_function(&format!("codec/{name}/decode and encode"), |bench| {
            bench.iter(|| {
                out.clear();
                let incoming = decode(framing, black_box(&frame)).unwrap();
                encode(black_box(&message), framing, about, &mut out);
                black_box(&out);
                incoming
            });
        });
    }
}

fn client(name: &str) -> ClientId {
    ClientId::new(name).unwrap()
}

fn delta(author: &str, number: u64, timestamp: u64, field: u64) -> Delta {
    Delta {
        id: DeltaId::new(&format!("{author}-{number}")),
        client: client(author),
        number: EditNumber(number),
        timestamp,
        changes: Changes::Fields(vec![(
            FieldName::new(&format!("field-{field}")).unwrap(),
            Change::Set(JsonText::parse("\"a value of usual length\"").unwrap()),
        )]),
    }
}

fn large_snapshot() -> Snapshot {
    let mut document = Document::new();
    for field in 0..FIELDS {
        document.apply(&delta("client-a", field + 1, NOW, field));
    }
    Snapshot { position: Position { epoch: Epoch(1), seq: Seq(FIELDS) }, document }
}

fn document(bench: &mut Criterion) {
    let mut document = large_snapshot().document;
    let mut timestamp = NOW;
    let mut newer = delta("client-b", 1, NOW, FIELDS / 2);
    bench.bench_function("document of 10,000 fields/apply a write that wins", |bench| {
        bench.iter(|| {
            timestamp += 1;
            newer.timestamp = timestamp;
            document.apply(black_box(&newer));
        });
    });
    let older = delta("client-b", 1, 1, FIELDS / 2);
    bench.bench_function("document of 10,000 fields/apply a write that loses", |bench| {
        bench.iter(|| document.apply(black_box(&older)));
    });
}

fn snapshot(bench: &mut Criterion) {
    let snapshot = large_snapshot();
    let bytes = snapshot.encode().unwrap();
    bench.bench_function("snapshot of 10,000 fields/encode", |bench| {
        bench.iter(|| snapshot.encode().unwrap());
    });
    bench.bench_function("snapshot of 10,000 fields/decode", |bench| {
        bench.iter(|| Snapshot::decode(black_box(&bytes)).unwrap());
    });
}

/// The next frame of a client whose every frame is another edit.
fn next_frame(frame: &mut Vec<u8>, count: u64) {
    let payload = payload().replace(&NOW.to_string(), &(NOW + count).to_string());
    frame.truncate(13);
    frame.extend_from_slice(payload.as_bytes());
}

fn room(bench: &mut Criterion) {
    let id = DocumentId::new("doc-1").unwrap();
    let mut room = Room::new(id.clone(), Snapshot::default(), Limits::default()).alone();
    let mut session = Session::new(
        SessionId(1),
        client("node-conn-1"),
        Some(Identity::anonymous()),
        Limits::default(),
    );
    let mut template = frame(Framing::Binary);
    let (mut sent, mut stored) = (0, 0);
    let (mut said, mut done) = (Vec::new(), Vec::new());
    bench.bench_function("one delta/received, appended, stored, acknowledged, sent out", |bench| {
        bench.iter_batched(
            || {
                sent += 1;
                next_frame(&mut template, sent);
                template.clone()
            },
            |frame| {
                session.receive(
                    Now { wall: NOW, moment: Moment(0) },
                    FrameKind::Binary,
                    &frame,
                    &mut said,
                );
                for effect in said.drain(..) {
                    if let session::Effect::Forward { command, .. } = effect {
                        let session = SessionId(1);
                        room.handle(Input::Command { session, handle: (), command }, &mut done);
                    }
                }
                let Some(room::Effect::Append { ticket, deltas }) = done.pop() else { return };
                stored += 1;
                let number = |delta| (delta, Delivery::Stored(Seq(stored)));
                let deltas = deltas.into_iter().map(number).collect();
                let edits = vec![StoredEdit { ticket, deltas }];
                room.handle(Input::Stored { epoch: Epoch(1), edits }, &mut done);
                assert_eq!(done.len(), 2);
                done.clear();
            },
            BatchSize::SmallInput,
        );
    });

    let mut large = Room::new(id, large_snapshot(), Limits::default()).alone();
    for (name, replay) in [("state", false), ("state and replay", true)] {
        bench.bench_function(&format!("join of 10,000 fields/{name}"), |bench| {
            bench.iter(|| {
                let command = Command::Subscribe { request_id: "r".to_owned(), replay };
                let session = SessionId(1);
                large.handle(Input::Command { session, handle: (), command }, &mut done);
                black_box(&done);
                done.clear();
            });
        });
    }
}

/// The JSON of a letter that `client` typed after the one before.
fn typed_block(client: &str, clock: u64) -> String {
    let id = |clock: u64| format!(r#"{{"client_id":"{client}","clock":{clock},"offset":0}}"#);
    let (id, left) = (id(clock), id(clock - 1));
    format!(
        r#"[{id},{{"id":{id},"text":"x","left_origin":{left},"right_origin":null,"deleted":false}}]"#
    )
}

/// The JSON of a text that was typed key by key: one block each.
fn typed(keystrokes: u64) -> String {
    let blocks: Vec<_> = (1..=keystrokes).map(|clock| typed_block("client-a", clock)).collect();
    let blocks = blocks.join(",");
    format!(r#"{{"blocks":[{blocks}],"clock":{{"value":{keystrokes}}},"client_id":"client-a"}}"#)
}

fn text(bench: &mut Criterion) {
    for (name, keystrokes) in [("10,000", 10_000), ("100,000", 100_000)] {
        let json = typed(keystrokes);
        let text = TextState::parse(&json).unwrap();
        let longer = TextState::parse(&typed(keystrokes + 1)).unwrap();
        let bytes = postcard::to_allocvec(&text).unwrap();
        let mut group = bench.benchmark_group(format!("text of {name} keystrokes"));
        group.sample_size(10);
        group.bench_function("parse", |bench| {
            bench.iter(|| TextState::parse(black_box(&json)).unwrap());
        });
        group.bench_function("to_json", |bench| bench.iter(|| text.to_json("server")));
        group.bench_function("minus a text without the last keystroke", |bench| {
            bench.iter(|| longer.minus(black_box(&text)));
        });
        let mut whole = text.clone();
        group.bench_function("join a text that is known", |bench| {
            bench.iter(|| whole.join(black_box(&text)));
        });
        // Each typed by another client, one after the other at the end.
        let one_more = |(at, clock)| {
            let json = typed_block(&format!("client-{}", at % 4), clock);
            let state = format!(
                r#"{{"blocks":[{json}],"clock":{{"value":{clock}}},"client_id":"client-b"}}"#
            );
            TextState::parse(&state).unwrap()
        };
        let keystrokes: Vec<_> = (0..1_000).zip(keystrokes + 1..).map(one_more).collect();
        group.bench_function("join 1,000 keystrokes, one by one", |bench| {
            let join = |mut text: TextState| {
                keystrokes.iter().for_each(|keystroke| text.join(black_box(keystroke)));
                text
            };
            bench.iter_batched(|| text.clone(), join, BatchSize::PerIteration);
        });
        group.bench_function("store", |bench| {
            bench.iter(|| postcard::to_allocvec(black_box(&text)).unwrap());
        });
        group.bench_function("load", |bench| {
            bench.iter(|| postcard::from_bytes::<TextState>(black_box(&bytes)).unwrap());
        });
    }
}

fn delta_id(bench: &mut Criterion) {
    let author = client("client-a");
    let changes = Changes::Fields(vec![(FieldName::new("title").unwrap(), Change::Delete)]);
    bench.bench_function("delta id", |bench| {
        bench.iter(|| DeltaId::derive(black_box(&author), EditNumber(1), NOW, &changes));
    });
}

criterion_group!(benches, codec, delta_id, document, room, snapshot, text);
criterion_main!(benches);
