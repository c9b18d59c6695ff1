//! The community, and the steps it takes.

use std::collections::{BTreeMap, VecDeque};

use synckit_engine::delta::Changes;
use synckit_engine::ids::{ClientId, DocumentId, Millis, NodeId, SessionId};
use synckit_engine::limits::Limits;
use synckit_engine::room::{Command, Draft, TicketId};
use synckit_engine::session::{self, Identity, Session};
use synckit_engine::wire::FrameKind;

use crate::bus::Bus;
use crate::check::Violation;
use crate::client::{Client, Connection, Kind, What};
use crate::node::{Node, Slot, clocks};
use crate::plan::{Faults, OUTBOX_MAX, Plan};
use crate::random::Random;
use crate::runs::number_from;
use crate::sabotage::Sabotage;
use crate::store::{EditKey, Store};
use crate::takeover::Lacking;

const START_MS: Millis = 1_700_000_000_000;
/// Few, so that writers meet.
const FIELDS: [&str; 3] = ["x", "y", "z"];
/// Deltas of one edit: a batch of an SDK makes one of each operation.
pub(crate) const EDIT_DELTAS_MAX: usize = 2;
/// What led to a failure is mostly among these.
const TRACE_MAX: usize = 40;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) plan: Plan,
    pub(crate) now: Millis,
    pub(crate) store: Store,
    pub(crate) bus: Bus,
    pub(crate) nodes: Vec<Node>,
    pub(crate) clients: Vec<Client>,
    pub(crate) ids: Vec<DocumentId>,
    pub(crate) connections: BTreeMap<SessionId, Connection>,
    /// The edits of each message, wherever it was taken.
    pub(crate) edits: BTreeMap<String, (usize, Vec<(EditKey, Changes)>)>,
    /// Everything that must be unlike all before it.
    serial: u64,
    is_traced: bool,
    trace_max: usize,
    pub(crate) trace: VecDeque<String>,
    pub(crate) violation: Option<Violation>,
    /// What standbys lacked that took over.
    pub(crate) lacking: Vec<Lacking>,
}

impl World {
    pub(crate) fn new(
        seed: u64,
        faults: Faults,
        steps: usize,
        sabotage: Option<Sabotage>,
        is_traced: bool,
    ) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::draw(&mut random, faults, steps, sabotage);
        let documents = ["doc-a", "doc-b"].map(|id| DocumentId::new(id).unwrap());
        let ids: Vec<_> = documents.into_iter().take(plan.documents).collect();
        let clients = (0..plan.clients)
            .map(|at| {
                let kind = random.one_of(&[Kind::ReadsDeltas, Kind::ReadsState, Kind::Plain]);
                // Names on both sides of "server", under which the SDKs hold what they receive.
                let name = format!("{}{at}", ["ann", "zoe"][at % 2]);
                Client::new(name, kind, random.one_of(&[0, 0, 40, 10_000]), ids.clone())
            })
            .collect();
        let mut world = Self {
            store: Store::new(plan.documents),
            bus: Bus::new(plan.nodes),
            nodes: Vec::new(),
            clients,
            ids,
            connections: BTreeMap::new(),
            edits: BTreeMap::new(),
            now: START_MS,
            serial: 0,
            is_traced,
            trace_max: number_from("SYNCKIT_SIM_TRACE")
                .map_or(TRACE_MAX, |n| usize::try_from(n).unwrap()),
            trace: VecDeque::new(),
            violation: None,
            lacking: Vec::new(),
            random,
            plan,
        };
        for at in 0..world.plan.nodes {
            let node = world.new_node(at);
            world.nodes.push(node);
        }
        world.note(|| "start".to_owned());
        world
    }

    pub(crate) fn new_node(&mut self, at: usize) -> Node {
        let serial = self.serial();
        Node::new(NodeId::new(&format!("node{at}-{serial}")), self.now)
    }

    /// The random phase, then healing and rest; what it broke, if anything.
    pub(crate) fn run(&mut self) -> Option<Violation> {
        for _ in 0..self.plan.steps {
            self.step();
            if self.violation.is_some() {
                return self.violation.take();
            }
        }
        self.heal_and_rest();
        self.violation.take()
    }

    pub(crate) fn note(&mut self, event: impl FnOnce() -> String) {
        if self.is_traced {
            if self.trace.len() >= self.trace_max {
                self.trace.pop_front();
            }
            self.trace.push_back(format!("{:>6} {}", self.now - START_MS, event()));
        }
    }

    pub(crate) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn step(&mut self) {
        self.now += self.random.next() % self.plan.step_ms_max;
        let client = self.random.below(self.clients.len());
        let node = self.random.below(self.nodes.len());
        let document = self.random.below(self.plan.documents);
        match self.random.below(100) {
            0..11 => self.write(client, document),
            11..29 => self.hear_some_client(),
            29..41 => {
                self.feed_room(node, document);
            }
            41..49 => self.tell_some_client(),
            49..57 => {
                self.append(node);
            }
            57..64 => {
                self.answer_edit(node);
            }
            64..68 => {
                self.read(node);
            }
            68..72 => {
                self.answer_read(node);
            }
            72..80 => {
                self.carry();
            }
            80..83 => self.connect(client),
            83..86 => self.present(client, document),
            86 => self.open_or_close(client, document),
            87..89 => {
                self.notice_end(node);
            }
            89..92 => {
                self.end_windows(node);
                self.run_timers(node);
            }
            92..94 => self.ask_heads(node),
            94 => {
                self.answer_head(node);
            }
            95 => self.leave(client),
            _ => {
                self.carry();
            }
        }
        if self.random.chance(self.plan.fails) {
            self.fail(node, document);
        }
        if self.random.chance(self.plan.store_deletes) {
            self.delete(document);
        }
    }

    fn write(&mut self, at: usize, document: usize) {
        let value = 1 + self.random.below(4) as u64;
        let what = match self.random.below(10) {
            0 | 1 => Some(What::Type),
            2 => Some(What::Count(value)),
            3 | 4 => Some(What::Add(value)),
            5 => Some(self.random.one_of(&[What::Remove(value), What::Clear])),
            _ => None,
        };
        let Some(what) = what else { return self.write_fields(at, document) };
        self.note(|| format!("client {at} does {what:?} in {document}"));
        let frame = self.clients[at].operate(document, what, self.now);
        self.send_all(at, frame);
    }

    fn write_fields(&mut self, at: usize, document: usize) {
        let fields = 1 + self.random.below(EDIT_DELTAS_MAX);
        let first = self.random.below(FIELDS.len());
        let values: Vec<_> = (0..fields)
            .map(|n| {
                let deletes = self.clients[at].kind == Kind::Plain && self.random.chance(15);
                let json = if deletes {
                    synckit_engine::delta::TOMBSTONE_JSON.to_owned()
                } else {
                    format!("\"{:02x}-{}\"", self.random.below(256), self.serial())
                };
                (FIELDS[(first + n) % FIELDS.len()], json)
            })
            .collect();
        self.note(|| format!("client {at} writes {values:?} in {document}"));
        let frame = self.clients[at].write(document, values, self.now);
        self.send_all(at, frame);
    }

    pub(crate) fn send_all(&mut self, client: usize, frames: impl IntoIterator<Item = Vec<u8>>) {
        let Some(session) = self.clients[client].session else { return };
        for frame in frames {
            let copies = 1 + usize::from(self.random.chance(5));
            let connection = self.connections.get_mut(&session).unwrap();
            connection.to_server.extend(std::iter::repeat_n(frame, copies));
        }
    }

    fn some_connection(&mut self) -> Option<SessionId> {
        let sessions: Vec<_> = self.connections.keys().copied().collect();
        (!sessions.is_empty()).then(|| self.random.one_of(&sessions))
    }

    fn hear_some_client(&mut self) {
        if let Some(session) = self.some_connection() {
            self.hear_client(session);
        }
    }

    /// A node reads one frame.
    pub(crate) fn hear_client(&mut self, session: SessionId) -> bool {
        let Some(connection) = self.connections.get_mut(&session) else { return false };
        let Some(frame) = connection.to_server.pop_front() else { return false };
        let (node, mut effects) = (connection.node, Vec::new());
        connection.session.receive(clocks(self.now), FrameKind::Text, &frame, &mut effects);
        self.note(|| format!("node {node} reads {}", String::from_utf8_lossy(&frame)));
        for effect in effects {
            match effect {
                session::Effect::Forward { document, mut command } => {
                    let document = self.ids.iter().position(|id| *id == document).unwrap();
                    self.take_note(document, &mut command);
                    self.slot(node, document).mailbox.push_back((session, command));
                }
                other => panic!("not expected: {other:?}"),
            }
        }
        true
    }

    /// The room's place, opened if nobody has the document open here.
    fn slot(&mut self, node: usize, document: usize) -> &mut Slot {
        if !self.nodes[node].slots.contains_key(&document) {
            let instance = self.serial();
            self.note(|| format!("node {node} opens document {document} as room {instance}"));
            self.load(node, document, instance);
        }
        self.nodes[node].slots.get_mut(&document).unwrap()
    }

    fn take_note(&mut self, document: usize, command: &mut Command) {
        let Command::Edit { message_id, drafts, .. } = command else { return };
        let key = |draft: &Draft| {
            let Draft { client, number, timestamp, changes, .. } = draft;
            (EditKey::new(client, number.unwrap(), *timestamp, changes), changes.clone())
        };
        let keys = drafts.iter().map(key).collect();
        self.edits.insert(message_id.clone(), (document, keys));
        if self.plan.is(Sabotage::RenewIds) {
            for draft in drafts {
                let serial = self.serial();
                draft.id = synckit_engine::delta::DeltaId::new(&format!("renewed-{serial}"));
            }
        }
    }

    fn tell_some_client(&mut self) {
        if let Some(session) = self.some_connection() {
            self.tell_client(session);
        }
    }

    /// A client reads one message.
    pub(crate) fn tell_client(&mut self, session: SessionId) -> bool {
        let Some(connection) = self.connections.get_mut(&session) else { return false };
        let at = connection.client;
        if self.clients[at].session != Some(session) {
            connection.to_client.clear();
            return false;
        }
        if connection.to_client.len() > OUTBOX_MAX && !self.bus.is_healed {
            self.note(|| format!("client {at} is slow"));
            self.end_connection(session);
            return true;
        }
        let Some(message) = connection.to_client.pop_front() else { return false };
        if connection.to_client.is_empty() {
            self.catch_up(session);
        }
        self.note(|| format!("client {at} reads {message:?}"));
        let answer = self.clients[at].receive(message);
        self.send_all(at, answer);
        true
    }

    pub(crate) fn connect(&mut self, at: usize) {
        let up: Vec<_> = (0..self.nodes.len()).filter(|node| self.nodes[*node].is_up).collect();
        if self.clients[at].session.is_some() || up.is_empty() {
            return;
        }
        let node = self.random.one_of(&up);
        let session = SessionId(self.serial());
        let name = ClientId::new(&format!("connection-{}", session.0)).unwrap();
        let identity = Some(Identity::anonymous());
        self.note(|| format!("client {at} connects to node {node} as {}", session.0));
        let connection = Connection {
            client: at,
            node,
            session: Session::new(session, name, identity, Limits::default()),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            is_lagging: false,
        };
        self.connections.insert(session, connection);
        self.clients[at].session = Some(session);
        let frames = self.clients[at].greet();
        self.send_all(at, frames);
    }

    /// A client loses its connection, or its page is loaded again.
    fn leave(&mut self, at: usize) {
        self.lose_connection(at);
        if self.random.chance(30) {
            self.clients[at].forget();
        }
    }

    /// A client loses its connection, of which its node learns later.
    pub(crate) fn lose_connection(&mut self, at: usize) {
        let Some(session) = self.clients[at].session.take() else { return };
        self.note(|| format!("client {at} loses connection {}", session.0));
        let node = self.connections[&session].node;
        self.nodes[node].closing.push(session);
    }

    /// A node closes a connection: what it has not read of it is lost.
    pub(crate) fn end_connection(&mut self, session: SessionId) {
        let Some(connection) = self.connections.get_mut(&session) else { return };
        connection.to_server.clear();
        let at = connection.client;
        if self.clients[at].session == Some(session) {
            self.lose_connection(at);
        }
    }

    fn present(&mut self, at: usize, document: usize) {
        let client = &self.clients[at];
        if client.session.is_none() || !client.views[document].is_open {
            return;
        }
        let stays = self.random.chance(70);
        let serial = self.serial();
        let state = stays.then(|| format!("{{\"cursor\":{serial}}}"));
        self.note(|| format!("client {at} shows {state:?} in {document}"));
        let frame = self.clients[at].present(document, state);
        self.send_all(at, [frame]);
    }

    pub(crate) fn open_or_close(&mut self, at: usize, document: usize) {
        let client = &mut self.clients[at];
        if client.session.is_none() {
            return;
        }
        let frames = if client.views[document].is_open {
            vec![client.close(document)]
        } else {
            client.open(document)
        };
        self.note(|| format!("client {at} opens or closes {document}"));
        self.send_all(at, frames);
    }

    /// Deltas of an edit that waits for the store.
    pub(crate) fn redeem(&mut self, node: usize, document: usize, tickets: &[TicketId]) {
        if let Some(slot) = self.nodes[node].slots.get_mut(&document) {
            slot.tickets.retain(|ticket, _| !tickets.contains(ticket));
        }
    }
}
