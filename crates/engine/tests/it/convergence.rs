//! Clients, connections and a store in random order around one room: when everything is
//! delivered, every client must show what the store holds.
//!
//! The clients behave as the protocol describes the SDKs: they show their own writes at once,
//! under their own count; they take a value only if the greatest entry of its clock and the name
//! of its writer beat what they hold. One kind reads only deltas, one the state as well. Every
//! run is given by its seed:
//!
//! - `SEED=7 cargo test -p synckit-engine --test it convergence` repeats one run
//! - `SEEDS=10000` tries that many instead of 300

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;

use synckit_engine::clock::VectorClock;
use synckit_engine::delta::{Change, Changes, Delta, DeltaId};
use synckit_engine::document::Document;
use synckit_engine::ids::{ClientId, DocumentId, FieldName, SessionId};
use synckit_engine::json::JsonText;
use synckit_engine::limits::Limits;
use synckit_engine::position::{Delivery, Epoch, Position, Seq};
use synckit_engine::room::{Command, Effect, Input, Room, Stored, TicketId};
use synckit_engine::session::{self, Identity, Session};
use synckit_engine::snapshot::Snapshot;
use synckit_engine::wire::{ErrorCode, FrameKind, ServerMessage};

use crate::random::{Random, number_from};

const DOCUMENT: &str = "doc";
const FIELDS: [&str; 3] = ["x", "y", "z"];
/// Names on both sides of "server", the name under which the clients hold what they receive.
const CLIENTS: [&str; 3] = ["ann", "client-b", "zoe"];
const STEPS: usize = 120;
const START_MS: u64 = 1_700_000_000_000;
/// Far more than any run needs to come to rest.
const ROUNDS_TO_REST_MAX: usize = 10_000;

#[test]
fn all_clients_end_with_what_the_store_holds() {
    let seeds = match number_from("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_from("SEEDS").unwrap_or(300),
    };
    for seed in seeds {
        let run = AssertUnwindSafe(|| World::new(seed).run());
        if std::panic::catch_unwind(run).is_err() {
            panic!(
                "failed with seed {seed}; repeat with: SEED={seed} cargo test -p synckit-engine \
                 --test it convergence"
            );
        }
    }
}

/// A write of a client, as it is kept until it is acknowledged.
#[derive(Debug, Clone)]
struct Write {
    field: &'static str,
    json: String,
    counter: u64,
    timestamp: u64,
}

/// A field as a client shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    clock: u64,
    writer: String,
    json: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// SDK 0.1.1: writes `delta`, reads deltas only.
    ReadsDeltas,
    /// SDK 0.3.0: writes `delta_batch`, reads the state of a `sync_response` too.
    ReadsState,
}

#[derive(Debug)]
struct Client {
    name: &'static str,
    kind: Kind,
    /// How far its clock is off, in milliseconds.
    ahead_ms: u64,
    fields: BTreeMap<String, Shown>,
    counts: BTreeMap<String, u64>,
    /// Written but not acknowledged, by the message id of the last try.
    unacknowledged: VecDeque<(Option<String>, Write)>,
    connection: Option<Connection>,
    messages: u64,
}

/// Both directions are in order; how far each has come is up to the seed.
#[derive(Debug)]
struct Connection {
    session: Session,
    to_server: VecDeque<Vec<u8>>,
    to_client: VecDeque<ServerMessage>,
}

impl Client {
    fn write(&mut self, field: &'static str, json: String, now: u64) {
        let own = self.counts.entry(self.name.to_owned()).or_default();
        *own += 1;
        let counter = *own;
        let shown = Shown { clock: counter, writer: self.name.to_owned(), json: json.clone() };
        self.show(field, shown);
        let write = Write { field, json, counter, timestamp: now + self.ahead_ms };
        self.unacknowledged.push_back((None, write));
        if self.connection.is_some() {
            self.send_write(self.unacknowledged.len() - 1);
        }
    }

    /// The rule of the SDKs, for their own writes and for others'.
    fn show(&mut self, field: &str, new: Shown) {
        let takes = self.fields.get(field).is_none_or(|held| {
            let key = |shown: &Shown| (shown.clock, shown.writer.clone(), shown.json.clone());
            key(&new).cmp(&key(held)) == Ordering::Greater
        });
        if takes {
            self.fields.insert(field.to_owned(), new);
        }
    }

    /// Sends a write, anew or again: a retry has another message id and is else the same.
    fn send_write(&mut self, at: usize) {
        self.messages += 1;
        let message_id = format!("{}-{}", self.name, self.messages);
        let (last_try, write) = &mut self.unacknowledged[at];
        *last_try = Some(message_id.clone());
        let Write { field, json, counter, timestamp } = write;
        let name = self.name;
        let mut clock = self.counts.clone();
        clock.insert(name.to_owned(), *counter);
        let clock = serde_json::to_string(&clock).unwrap();
        let operation = format!(
            "\"documentId\":\"{DOCUMENT}\",\"field\":\"{field}\",\"value\":{json},\
             \"clock\":{clock},\"clientId\":\"{name}\",\"timestamp\":{timestamp}"
        );
        let message = match self.kind {
            Kind::ReadsDeltas => {
                format!("{{\"type\":\"delta\",{operation},\"messageId\":\"{message_id}\"}}")
            }
            Kind::ReadsState => format!(
                "{{\"type\":\"delta_batch\",\"documentId\":\"{DOCUMENT}\",\
                 \"deltas\":[{{\"type\":\"set\",{operation}}}],\"messageId\":\"{message_id}\"}}"
            ),
        };
        self.connection.as_mut().unwrap().to_server.push_back(message.into_bytes());
    }

    fn connect(&mut self, session: SessionId) {
        let name = ClientId::new(&format!("connection-{}", session.0)).unwrap();
        let identity = Some(Identity::anonymous());
        let subscribe = format!("{{\"type\":\"subscribe\",\"documentId\":\"{DOCUMENT}\"}}");
        self.connection = Some(Connection {
            session: Session::new(session, name, identity, Limits::default()),
            to_server: VecDeque::from([subscribe.into_bytes()]),
            to_client: VecDeque::new(),
        });
        for at in 0..self.unacknowledged.len() {
            self.send_write(at);
        }
    }

    fn receive(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::SyncResponse { state, clock, .. } => {
                let stamp = self.see(&clock);
                let state: BTreeMap<String, Box<serde_json::value::RawValue>> =
                    serde_json::from_str(state.as_str()).unwrap();
                assert!(stamp > 0 || state.is_empty(), "a state with an empty clock");
                if self.kind == Kind::ReadsState {
                    for (field, json) in state {
                        self.show(&field, by_server(stamp, json.get()));
                    }
                }
            }
            ServerMessage::Delta { field, value, clock, .. } => {
                let stamp = self.see(&clock);
                assert!(stamp > 0, "a delta with an empty clock");
                self.show(field.as_str(), by_server(stamp, value.as_json()));
            }
            ServerMessage::Ack { message_id } => {
                let named = |last_try: &Option<String>| last_try.as_ref() == Some(&message_id);
                self.unacknowledged.retain(|(last_try, _)| !named(last_try));
            }
            ServerMessage::Error(error) => {
                assert_eq!(error.code, ErrorCode::StorageUnavailable, "{error:?}");
                let named = |last_try: &Option<String>| *last_try == error.message_id;
                if let Some(at) =
                    self.unacknowledged.iter().position(|(last_try, _)| named(last_try))
                {
                    self.send_write(at);
                }
            }
            other => panic!("not expected: {other:?}"),
        }
    }

    /// Merges a received clock and gives its greatest entry.
    fn see(&mut self, clock: &JsonText) -> u64 {
        let clock: BTreeMap<String, u64> = serde_json::from_str(clock.as_str()).unwrap();
        for (client, count) in &clock {
            let known = self.counts.entry(client.clone()).or_default();
            *known = (*known).max(*count);
        }
        clock.into_values().max().unwrap_or(0)
    }
}

fn by_server(clock: u64, json: &str) -> Shown {
    Shown { clock, writer: "server".to_owned(), json: json.to_owned() }
}

/// The stored history of the one document.
#[derive(Debug)]
struct Log {
    epoch: Epoch,
    deltas: Vec<Delta>,
}

impl Log {
    fn append(&mut self, delta: &Delta) -> Delivery {
        match self.deltas.iter().position(|stored| stored.id == delta.id) {
            Some(at) => Delivery::Repeated(Seq(1 + at as u64)),
            None => {
                self.deltas.push(delta.clone());
                Delivery::Stored(self.head().seq)
            }
        }
    }

    fn head(&self) -> Position {
        // A document that nobody has written is not there and has no epoch.
        if self.deltas.is_empty() {
            return Position::default();
        }
        Position { epoch: self.epoch, seq: Seq(self.deltas.len() as u64) }
    }

    fn load(&self) -> Snapshot {
        let mut document = Document::new();
        for delta in &self.deltas {
            document.apply(delta);
        }
        Snapshot { position: self.head(), document }
    }

    fn read(&self, after: Option<Position>) -> Input<()> {
        match after {
            Some(after) if after.epoch == self.head().epoch => {
                let from = usize::try_from(after.seq.0).unwrap();
                let missing = self.deltas[from..].iter().cloned();
                Input::Fetched((after.seq.0 + 1..).map(Seq).zip(missing).collect())
            }
            _ => Input::Reloaded(self.load()),
        }
    }
}

#[derive(Debug)]
struct World {
    random: Random,
    now: u64,
    clients: Vec<Client>,
    sessions: u64,
    room: Room<()>,
    log: Log,
    /// Given to the store, not stored yet.
    appends: VecDeque<(TicketId, Vec<Delta>)>,
    /// Asked of the store, not read yet.
    reads: VecDeque<Option<Position>>,
    /// Answers of the store on their way. Those of appends are in order, those of reads are not.
    stored: VecDeque<Input<()>>,
    read: VecDeque<Input<()>>,
    acknowledged: Vec<String>,
    ids_by_message: BTreeMap<String, Vec<DeltaId>>,
    /// Whether the store and the connections still fail now and then.
    faults: bool,
    values: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let clients = CLIENTS.map(|name| Client {
            name,
            kind: if random.chance(50) { Kind::ReadsDeltas } else { Kind::ReadsState },
            ahead_ms: [0, 0, 40, 10_000][random.below(4)],
            fields: BTreeMap::new(),
            counts: BTreeMap::new(),
            unacknowledged: VecDeque::new(),
            connection: None,
            messages: 0,
        });
        let id = DocumentId::new(DOCUMENT).unwrap();
        let mut log = Log { epoch: Epoch(9), deltas: Vec::new() };
        let mut world = Self {
            now: START_MS,
            clients: clients.into(),
            sessions: 0,
            room: Room::new(id.clone(), Snapshot::default(), Limits::default()),
            appends: VecDeque::new(),
            reads: VecDeque::new(),
            stored: VecDeque::new(),
            read: VecDeque::new(),
            acknowledged: Vec::new(),
            ids_by_message: BTreeMap::new(),
            faults: true,
            values: 0,
            log: Log { epoch: log.epoch, deltas: Vec::new() },
            random,
        };
        if world.random.chance(50) {
            // The room loads a document that was written before.
            log.append(&world.delta_of_another_node());
            world.room = Room::new(id, log.load(), Limits::default());
            world.log = log;
        }
        world
    }

    fn run(mut self) {
        for _ in 0..STEPS {
            self.step();
        }
        self.come_to_rest();
        self.check();
        // What another node stored last shows with the next own edit.
        self.faults = false;
        self.write(0);
        self.come_to_rest();
        self.check();
        assert_eq!(self.room.position(), self.log.head());
    }

    fn step(&mut self) {
        self.now += self.random.next() % 20;
        let at = self.random.below(self.clients.len());
        match self.random.below(100) {
            0..20 => self.write(at),
            20..45 => self.deliver_to_server(at),
            45..70 => self.deliver_to_client(at),
            70..82 => self.store_some(),
            82..86 => self.read_some(),
            86..91 => self.answer_stored(),
            91..94 => self.answer_read(),
            94..98 => self.connect_or_disconnect(at),
            _ => {
                let delta = self.delta_of_another_node();
                self.log.append(&delta);
            }
        }
    }

    /// Delivers and answers everything, in a random order, with every client connected.
    fn come_to_rest(&mut self) {
        for at in 0..self.clients.len() {
            if self.clients[at].connection.is_none() {
                self.connect_or_disconnect(at);
            }
        }
        for _ in 0..ROUNDS_TO_REST_MAX {
            if self.is_at_rest() {
                return;
            }
            let at = self.random.below(self.clients.len());
            match self.random.below(6) {
                0 => self.deliver_to_server(at),
                1 => self.deliver_to_client(at),
                2 => self.store_some(),
                3 => self.read_some(),
                4 => self.answer_stored(),
                _ => self.answer_read(),
            }
        }
        panic!("does not come to rest: {self:#?}");
    }

    fn is_at_rest(&self) -> bool {
        let quiet = |connection: &Connection| {
            connection.to_server.is_empty() && connection.to_client.is_empty()
        };
        self.clients.iter().all(|client| client.connection.as_ref().is_some_and(quiet))
            && [&self.stored, &self.read].iter().all(|answers| answers.is_empty())
            && self.appends.is_empty()
            && self.reads.is_empty()
    }

    fn write(&mut self, at: usize) {
        let field = FIELDS[self.random.below(FIELDS.len())];
        let json = self.new_value();
        self.clients[at].write(field, json, self.now);
    }

    /// Values that are all different and in no order.
    fn new_value(&mut self) -> String {
        self.values += 1;
        format!("\"{:02x}-{}\"", self.random.below(256), self.values)
    }

    fn connect_or_disconnect(&mut self, at: usize) {
        match self.clients[at].connection.take() {
            Some(connection) => {
                let session = connection.session.id();
                let command = Command::Leave;
                self.give_room(Input::Command { session, handle: (), command });
            }
            None => {
                self.sessions += 1;
                self.clients[at].connect(SessionId(self.sessions));
            }
        }
    }

    fn deliver_to_server(&mut self, at: usize) {
        let Some(connection) = &mut self.clients[at].connection else { return };
        let Some(frame) = connection.to_server.pop_front() else { return };
        let mut effects = Vec::new();
        connection.session.receive(self.now, FrameKind::Text, &frame, &mut effects);
        let session = connection.session.id();
        for effect in effects {
            match effect {
                session::Effect::Forward { command, .. } => {
                    self.note_ids(&command);
                    self.give_room(Input::Command { session, handle: (), command });
                }
                other => panic!("not expected: {other:?}"),
            }
        }
    }

    fn note_ids(&mut self, command: &Command) {
        if let Command::Edit { message_id, drafts, .. } = command {
            let ids = drafts.iter().map(|draft| draft.id.clone()).collect();
            self.ids_by_message.insert(message_id.clone(), ids);
        }
    }

    fn deliver_to_client(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some(connection) = &mut client.connection else { return };
        let Some(message) = connection.to_client.pop_front() else { return };
        client.receive(message);
    }

    /// The store takes one or more edits together. It may fail and have taken them all the same,
    /// it may find them there already, and others may come in between.
    fn store_some(&mut self) {
        let count = self.appends.len().min(1 + self.random.below(4));
        if count == 0 {
            return;
        }
        if self.faults && self.random.chance(10) {
            let delta = self.delta_of_another_node();
            self.log.append(&delta);
        }
        let edits: Vec<_> = self.appends.drain(..count).collect();
        let fails = self.faults && self.random.chance(20);
        let takes_effect = !fails || self.random.chance(50);
        let tries_again = fails && self.random.chance(50);
        if takes_effect && fails {
            for (_, deltas) in &edits {
                for delta in deltas {
                    self.log.append(delta);
                }
            }
        }
        if fails && !tries_again {
            let tickets = edits.into_iter().map(|(ticket, _)| ticket).collect();
            let code = ErrorCode::StorageUnavailable;
            return self.stored.push_back(Input::NotStored { tickets, code });
        }
        // After a failure that took effect all of them are found again, under their numbers.
        let log = &mut self.log;
        let store = |delta: Delta| {
            let delivery = log.append(&delta);
            (delta, delivery)
        };
        let mut store = store;
        let edits = edits
            .into_iter()
            .map(|(ticket, deltas)| Stored {
                ticket,
                deltas: deltas.into_iter().map(&mut store).collect(),
            })
            .collect();
        self.stored.push_back(Input::Stored { epoch: self.log.epoch, edits });
    }

    fn read_some(&mut self) {
        if let Some(after) = self.reads.pop_front() {
            // Some of the history may be pruned; then the document comes as a whole.
            let pruned = self.random.chance(10);
            let answer = self.log.read(after.filter(|_| !pruned));
            self.read.push_back(answer);
        }
    }

    fn answer_stored(&mut self) {
        if let Some(answer) = self.stored.pop_front() {
            self.give_room(answer);
        }
    }

    fn answer_read(&mut self) {
        if let Some(answer) = self.read.pop_front() {
            self.give_room(answer);
        }
    }

    fn give_room(&mut self, input: Input<()>) {
        let mut effects = Vec::new();
        self.room.handle(input, &mut effects);
        let sessions = self.sessions;
        for effect in effects {
            match effect {
                Effect::Send(session, message) => {
                    if let ServerMessage::Ack { message_id } = &message {
                        self.acknowledged.push(message_id.clone());
                    }
                    if self.room.handle_of(session).is_some() {
                        self.send(session, message);
                    }
                }
                Effect::Broadcast(message) => {
                    for session in (1..=sessions).map(SessionId) {
                        self.send(session, message.clone());
                    }
                }
                effect @ (Effect::BroadcastAwareness(_) | Effect::Relay(..) | Effect::Open(..)) => {
                    panic!("not expected: {effect:?}")
                }
                Effect::Append { ticket, deltas } => self.appends.push_back((ticket, deltas)),
                Effect::Fetch(after) => self.reads.push_back(Some(after)),
                Effect::Reload => self.reads.push_back(None),
                // Nobody else has the document open.
                Effect::Publish(_) => {}
            }
        }
        assert!(self.reads.len() + self.read.len() <= 1, "more than one read under way");
    }

    fn send(&mut self, session: SessionId, message: ServerMessage) {
        let connections = self.clients.iter_mut().filter_map(|client| client.connection.as_mut());
        let found = connections.into_iter().find(|connection| connection.session.id() == session);
        if let Some(connection) = found
            && self.room.handle_of(session).is_some()
        {
            connection.to_client.push_back(message);
        }
    }

    fn delta_of_another_node(&mut self) -> Delta {
        let client = ClientId::new("far-away").unwrap();
        let json = self.new_value();
        let counter = 1 + self.values;
        Delta {
            id: DeltaId::new(&format!("far-away-{counter}")),
            clock: VectorClock::dot(&client, counter),
            client,
            timestamp: self.now + self.random.next() % 100,
            changes: Changes::Fields(vec![(
                FieldName::new(FIELDS[self.random.below(FIELDS.len())]).unwrap(),
                Change::Set(JsonText::parse(&json).unwrap()),
            )]),
        }
    }

    fn check(&self) {
        for client in &self.clients {
            assert!(client.unacknowledged.is_empty(), "not acknowledged: {client:#?}");
        }
        let stored: BTreeSet<_> = self.log.deltas.iter().map(|delta| &delta.id).collect();
        assert_eq!(stored.len(), self.log.deltas.len(), "a delta is stored twice");
        for message_id in &self.acknowledged {
            let ids = &self.ids_by_message[message_id];
            assert!(ids.iter().all(|id| stored.contains(id)), "{message_id} is not stored");
        }
        let position = self.room.position();
        let included = usize::try_from(position.seq.0).unwrap();
        assert!(
            self.log.deltas[included..].iter().all(|delta| delta.client.as_str() == "far-away"),
            "own edits are stored but not shown: room at {included}, log {:#?}",
            self.log
        );
        let upto = Log { epoch: self.log.epoch, deltas: self.log.deltas[..included].to_vec() };
        assert_eq!(position, upto.head());
        assert_eq!(*self.room.document(), upto.load().document);
        let document: BTreeMap<_, _> = self
            .room
            .document()
            .live_fields()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        for client in &self.clients {
            let shown: BTreeMap<_, _> = client
                .fields
                .iter()
                .map(|(name, shown)| (name.as_str(), shown.json.as_str()))
                .collect();
            assert_eq!(shown, document, "{} ({:?}) diverged", client.name, client.kind);
        }
    }
}
