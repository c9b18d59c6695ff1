//! Clients as the protocol describes them: writes shown at once and kept until acknowledged, also
//! offline; values taken by the greatest entry of their clock, then the writer's name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use synckit_engine::delta::{Change, TOMBSTONE_JSON};
use synckit_engine::ids::{DocumentId, SessionId};
use synckit_engine::json::JsonText;
use synckit_engine::session::Session;
use synckit_engine::text::TextState;
use synckit_engine::wire::{ErrorCode, ServerMessage};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SDK 0.1.1: writes `delta`, reads deltas only.
    ReadsDeltas,
    /// SDK 0.3.0: writes `delta_batch`, reads the state of a `sync_response` too.
    ReadsState,
    /// Shows what the server said last; the only one that deletes fields.
    Plain,
}

/// A write as it is kept until it is acknowledged, by the message id of the last try.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) message_id: Option<String>,
    pub(crate) fields: Vec<(&'static str, String)>,
    /// The members of an operation that writes no fields.
    pub(crate) operation: Option<String>,
    pub(crate) number: u64,
    pub(crate) timestamp: u64,
}

/// What a user does other than writing fields.
#[derive(Debug, Clone, Copy)]
pub(crate) enum What {
    /// Adds a letter to the text.
    Type,
    Count(u64),
    Add(u64),
    Remove(u64),
    Clear,
}

/// A field under the rule of the SDKs: the greatest clock, writer and text is shown.
type Shown = (u64, String, String);

/// What a client knows of one document.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// Whether its user has the document open.
    pub(crate) is_open: bool,
    pub(crate) shown: BTreeMap<String, Shown>,
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) text: TextState,
    /// What the client typed last, or saw of others.
    text_clock: u64,
    pub(crate) set: BTreeSet<String>,
    pub(crate) unacknowledged: VecDeque<Write>,
    /// What the server said last of each live field since it answered the subscription.
    pub(crate) told: Option<BTreeMap<String, String>>,
    /// What the user wants others to see of it.
    pub(crate) awareness: Option<String>,
    awareness_clock: u64,
    /// Who is here, as the server said last.
    pub(crate) others: Option<BTreeMap<String, String>>,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// How far its clock is off, in milliseconds.
    pub(crate) ahead_ms: u64,
    pub(crate) views: Vec<View>,
    pub(crate) session: Option<SessionId>,
    pub(crate) ids: Vec<DocumentId>,
    messages: u64,
    /// No edit is older: one whose number was given before must differ by its time.
    timestamp_min: u64,
}

/// Both directions are in order; how far each has come is up to the seed.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: usize,
    pub(crate) node: usize,
    pub(crate) session: Session,
    pub(crate) to_server: VecDeque<Vec<u8>>,
    pub(crate) to_client: VecDeque<ServerMessage>,
    /// Whether the client was kept from messages, for which its rooms make up later.
    pub(crate) is_lagging: bool,
}

impl Client {
    pub(crate) fn new(name: String, kind: Kind, ahead_ms: u64, ids: Vec<DocumentId>) -> Self {
        let views = ids.iter().map(|_| View { is_open: true, ..View::default() }).collect();
        let (session, messages, timestamp_min) = (None, 0, 0);
        Self { name, kind, ahead_ms, views, session, ids, messages, timestamp_min }
    }

    /// The frames a new connection starts with.
    pub(crate) fn greet(&mut self) -> Vec<Vec<u8>> {
        (0..self.views.len())
            .filter(|at| self.views[*at].is_open)
            .collect::<Vec<_>>()
            .into_iter()
            .flat_map(|at| self.open(at))
            .collect()
    }

    /// Opens a document: subscribes, sends again what is not acknowledged, and shows itself.
    pub(crate) fn open(&mut self, document: usize) -> Vec<Vec<u8>> {
        let id = self.ids[document].clone();
        let view = &mut self.views[document];
        view.is_open = true;
        (view.told, view.others) = (None, None);
        let mut frames = vec![
            format!("{{\"type\":\"subscribe\",\"documentId\":\"{id}\"}}").into_bytes(),
            format!("{{\"type\":\"awareness_subscribe\",\"documentId\":\"{id}\"}}").into_bytes(),
        ];
        frames.extend((0..view.unacknowledged.len()).map(|at| self.frame_of(document, at)));
        let awareness = self.views[document].awareness.clone();
        frames.extend(awareness.map(|state| self.present(document, Some(state))));
        frames
    }

    pub(crate) fn close(&mut self, document: usize) -> Vec<u8> {
        let view = &mut self.views[document];
        (view.is_open, view.told, view.others, view.awareness) = (false, None, None, None);
        let id = &self.ids[document];
        format!("{{\"type\":\"unsubscribe\",\"documentId\":\"{id}\"}}").into_bytes()
    }

    /// The user reloads the page: all is gone but what is still to be acknowledged.
    pub(crate) fn forget(&mut self) {
        self.timestamp_min += 1;
        for view in &mut self.views {
            view.shown.clear();
            view.counts.clear();
            view.text = TextState::default();
            view.set.clear();
            view.awareness_clock = 0;
        }
    }

    pub(crate) fn present(&mut self, document: usize, state: Option<String>) -> Vec<u8> {
        let (name, id) = (&self.name, &self.ids[document]);
        let view = &mut self.views[document];
        view.awareness_clock += 1;
        let clock = view.awareness_clock;
        let json = state.clone().unwrap_or_else(|| "null".to_owned());
        view.awareness = state;
        format!(
            "{{\"type\":\"awareness_update\",\"documentId\":\"{id}\",\"clientId\":\"{name}\",\
             \"state\":{json},\"clock\":{clock}}}"
        )
        .into_bytes()
    }

    /// Writes; gives the frame to send, if it is connected and has the document open.
    pub(crate) fn write(
        &mut self,
        document: usize,
        fields: Vec<(&'static str, String)>,
        now: u64,
    ) -> Option<Vec<u8>> {
        self.edit(document, fields, None, now)
    }

    /// Does something else than writing fields; gives the frame to send as [`Client::write`] does.
    pub(crate) fn operate(&mut self, document: usize, what: What, now: u64) -> Option<Vec<u8>> {
        let operation = match what {
            What::Type => {
                let state = self.views[document].type_letter(&self.name);
                format!("\"type\":\"text-state\",\"state\":{}", serde_json::json!(state))
            }
            What::Count(n) => {
                format!("\"type\":\"counter\",\"operation\":\"increment\",\"value\":{n}")
            }
            What::Add(n) => format!("\"type\":\"set\",\"operation\":\"add\",\"value\":{n}"),
            What::Remove(n) => format!("\"type\":\"set\",\"operation\":\"remove\",\"value\":{n}"),
            What::Clear => "\"type\":\"set\",\"operation\":\"clear\"".to_owned(),
        };
        self.edit(document, Vec::new(), Some(operation), now)
    }

    fn edit(
        &mut self,
        document: usize,
        fields: Vec<(&'static str, String)>,
        operation: Option<String>,
        now: u64,
    ) -> Option<Vec<u8>> {
        let timestamp = (now + self.ahead_ms).max(self.timestamp_min);
        self.timestamp_min = timestamp;
        let view = &mut self.views[document];
        let own = view.counts.entry(self.name.clone()).or_default();
        *own += 1;
        let number = *own;
        for (field, json) in &fields {
            view.show(field, (number, self.name.clone(), json.clone()));
        }
        let write = Write { message_id: None, fields, operation, number, timestamp };
        view.unacknowledged.push_back(write);
        let at = view.unacknowledged.len() - 1;
        let goes = self.session.is_some() && view.is_open;
        goes.then(|| self.frame_of(document, at))
    }

    /// Anew or again: a retry has another message id and is else the same.
    fn frame_of(&mut self, document: usize, at: usize) -> Vec<u8> {
        self.messages += 1;
        let (name, id, n) = (&self.name, &self.ids[document], self.messages);
        let view = &mut self.views[document];
        let write = &mut view.unacknowledged[at];
        let message_id = format!("{name}-{n}");
        write.message_id = Some(message_id.clone());
        let mut clock = view.counts.clone();
        clock.insert(name.clone(), write.number);
        let clock = serde_json::to_string(&clock).unwrap();
        let timestamp = write.timestamp;
        let members =
            format!("\"clock\":{clock},\"clientId\":\"{name}\",\"timestamp\":{timestamp}");
        let member = |(field, json): &(&str, String)| format!("\"{field}\":{json}");
        let operations = match self.kind {
            _ if let Some(operation) = &write.operation => {
                format!("\"type\":\"delta_batch\",\"deltas\":[{{{operation},{members}}}]")
            }
            Kind::ReadsDeltas | Kind::Plain => {
                let fields: Vec<_> = write.fields.iter().map(member).collect();
                format!("\"type\":\"delta\",\"delta\":{{{}}},{members}", fields.join(","))
            }
            Kind::ReadsState => {
                let operation = |(field, json): &(&str, String)| {
                    format!("{{\"type\":\"set\",\"field\":\"{field}\",\"value\":{json},{members}}}")
                };
                let operations: Vec<_> = write.fields.iter().map(operation).collect();
                format!("\"type\":\"delta_batch\",\"deltas\":[{}]", operations.join(","))
            }
        };
        format!("{{{operations},\"documentId\":\"{id}\",\"messageId\":\"{message_id}\"}}")
            .into_bytes()
    }

    /// Takes what the server says; gives what it answers.
    pub(crate) fn receive(&mut self, message: ServerMessage) -> Option<Vec<u8>> {
        let place = |id: &DocumentId| self.ids.iter().position(|known| known == id).unwrap();
        match message {
            ServerMessage::SyncResponse { document, state, clock, text, .. } => {
                let reads_state = self.kind == Kind::ReadsState;
                let at = place(&document);
                if self.kind == Kind::Plain {
                    // All there is of a set follows; nothing, if nobody ever touched it.
                    self.views[at].set.clear();
                }
                if let Some((state, _)) = text {
                    self.views[at].read(&serde_json::from_str::<String>(state.as_str()).unwrap());
                }
                self.views[at].start(&state, &clock, reads_state);
            }
            ServerMessage::Delta { document, field, value, clock } => {
                let at = place(&document);
                self.views[at].take(field.as_str(), &value, &clock);
            }
            ServerMessage::DeltaBatch { document, operations, .. } => {
                let at = place(&document);
                let operations = operations.iter().map(|it| serde_json::from_str(it.as_str()));
                operations.for_each(|operation| self.views[at].operate(&operation.unwrap()));
            }
            ServerMessage::Ack { message_id } => {
                for view in &mut self.views {
                    view.unacknowledged
                        .retain(|write| write.message_id.as_ref() != Some(&message_id));
                }
            }
            ServerMessage::AwarenessState { document, states } => {
                let at = place(&document);
                let states = states.into_iter();
                let others = states.map(|one| (one.client.to_string(), one.state.as_str().into()));
                self.views[at].others = Some(others.collect());
            }
            ServerMessage::AwarenessUpdate { document, client, state, .. } => {
                let at = place(&document);
                let Some(others) = &mut self.views[at].others else { return None };
                match state {
                    Some(state) => others.insert(client.to_string(), state.as_str().to_owned()),
                    None => others.remove(client.as_str()),
                };
            }
            ServerMessage::Error(error) => {
                assert_eq!(error.code, ErrorCode::StorageUnavailable, "{error:?}");
                for document in 0..self.views.len() {
                    let view = &self.views[document];
                    let named = |write: &Write| write.message_id == error.message_id;
                    if let Some(at) = view.unacknowledged.iter().position(named) {
                        return view.is_open.then(|| self.frame_of(document, at));
                    }
                }
            }
            other => panic!("not expected: {other:?}"),
        }
        None
    }
}

impl View {
    fn show(&mut self, field: &str, new: Shown) {
        if self.shown.get(field).is_none_or(|held| new > *held) {
            self.shown.insert(field.to_owned(), new);
        }
    }

    fn type_letter(&mut self, name: &str) -> String {
        self.text_clock += 1;
        let id = format!("{{\"client_id\":{name:?},\"clock\":{},\"offset\":0}}", self.text_clock);
        self.read(&format!(
            "{{\"blocks\":[[{id},{{\"id\":{id},\"text\":\"x\",\"left_origin\":null,\
             \"right_origin\":null,\"deleted\":false}}]],\"clock\":{{\"value\":{}}},\
             \"client_id\":{name:?}}}",
            self.text_clock
        ));
        self.text.to_json(name)
    }

    /// Joins the state of a text.
    fn read(&mut self, state: &str) {
        let json: serde_json::Value = serde_json::from_str(state).unwrap();
        self.text_clock = self.text_clock.max(json["clock"]["value"].as_u64().unwrap());
        self.text.join(&TextState::parse(state).unwrap());
    }

    fn operate(&mut self, operation: &serde_json::Value) {
        let member = |name: &str| operation[name].as_str().unwrap_or_default();
        match (member("type"), member("operation")) {
            ("text-state", _) => self.read(member("state")),
            ("set", "add") => drop(self.set.insert(operation["value"].to_string())),
            ("set", "remove") => drop(self.set.remove(&operation["value"].to_string())),
            ("set", "clear") => self.set.clear(),
            // Nothing tells a client what it missed of a counter.
            ("counter", "increment") => {}
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

    fn start(&mut self, state: &JsonText, clock: &JsonText, reads_state: bool) {
        let stamp = self.see(clock);
        let state: BTreeMap<String, Box<serde_json::value::RawValue>> =
            serde_json::from_str(state.as_str()).unwrap();
        assert!(stamp > 0 || state.is_empty(), "a state with an empty clock");
        if reads_state {
            for (field, json) in &state {
                self.show(field, (stamp, "server".to_owned(), json.get().to_owned()));
            }
        }
        let told = state.into_iter().map(|(field, json)| (field, json.get().to_owned()));
        self.told = Some(told.collect());
    }

    fn take(&mut self, field: &str, value: &Change, clock: &JsonText) {
        let stamp = self.see(clock);
        assert!(stamp > 0, "a delta with an empty clock");
        self.show(field, (stamp, "server".to_owned(), value.as_json().to_owned()));
        // What is still on its way from before the document was closed.
        let Some(told) = &mut self.told else { return };
        match value {
            Change::Set(json) => told.insert(field.to_owned(), json.as_str().to_owned()),
            Change::Delete => told.remove(field),
        };
    }

    /// Whether it shows these fields. Clients can't be told of a deletion they missed, so what
    /// is deleted may still be shown.
    pub(crate) fn shows(&self, kind: Kind, live: &BTreeMap<String, String>) -> bool {
        if kind == Kind::Plain {
            return self.told.as_ref() == Some(live);
        }
        live.iter().all(|(field, json)| {
            self.shown.get(field).is_some_and(|(.., shown)| shown == json && json != TOMBSTONE_JSON)
        })
    }
}
