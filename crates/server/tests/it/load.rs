//! Clients that write all the time and remember what they were told about every edit.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use synckit_client::websocket::Closed;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, PATIENCE};
use crate::messages::{Edit, tombstone};

/// How many edits of a writer there are for one deletion.
const EDITS_PER_DELETION: u64 = 5;

/// What the writers of a load do.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Written in turn.
    pub(crate) documents: &'static [&'static str],
    /// Fields that a writer takes in turn.
    pub(crate) fields: u64,
    /// Edits of each writer that are not answered at a time.
    pub(crate) window: usize,
    /// Makes values this much longer.
    pub(crate) padding: usize,
    /// How many edits each writer makes at most.
    pub(crate) edits_max: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            documents: &["doc-0", "doc-1"],
            fields: 8,
            window: 16,
            padding: 0,
            edits_max: u64::MAX,
        }
    }
}

/// One client that writes. It outlives its connections: an edit that was not answered is sent again
/// over the next one.
pub(crate) struct Writer {
    client: Client,
    pub(crate) plan: Plan,
    edits: u64,
    /// Sent and not answered, by the order in which they were made.
    unanswered: BTreeMap<u64, Edit>,
    pub(crate) acknowledged: Vec<Edit>,
    /// How often an edit came back as one to be sent again later.
    pub(crate) refusals: u64,
}

impl Writer {
    pub(crate) async fn connect(address: &str, plan: Plan) -> Self {
        let client = Client::connect(address).await;
        Self {
            client,
            plan,
            edits: 0,
            unanswered: BTreeMap::new(),
            acknowledged: Vec::new(),
            refusals: 0,
        }
    }

    pub(crate) async fn several(count: usize, address: &str, plan: &Plan) -> Vec<Self> {
        let mut writers = Vec::with_capacity(count);
        for _ in 0..count {
            writers.push(Self::connect(address, plan.clone()).await);
        }
        writers
    }

    /// Goes on over another connection.
    pub(crate) async fn reconnect(&mut self, address: &str) {
        let name = std::mem::take(&mut self.client.name);
        self.client = Client::connect(address).await;
        self.client.name = name;
        for (number, edit) in &self.unanswered {
            self.client.send(&edit.message(&number.to_string())).await;
        }
    }

    /// Writes until it is told to stop and everything is answered, or until the connection ends.
    async fn run(&mut self, stop: &CancellationToken, acks: &watch::Sender<u64>) -> Option<Closed> {
        loop {
            while self.unanswered.len() < self.plan.window
                && self.edits < self.plan.edits_max
                && !stop.is_cancelled()
            {
                self.write_next().await;
            }
            if self.unanswered.is_empty() {
                return None;
            }
            match timeout(PATIENCE, self.client.receive()).await {
                Ok(Ok(message)) => self.take(&message, acks).await,
                Ok(Err(closed)) => return Some(closed),
                Err(_) => panic!("nothing within {PATIENCE:?}; {}", self.client.story()),
            }
        }
    }

    async fn write_next(&mut self) {
        let number = self.edits;
        self.edits += 1;
        let documents = self.plan.documents;
        let at = usize::try_from(number).expect("a number fits") % documents.len();
        let field = format!("{}-{}", self.client.name, number % self.plan.fields);
        let value = if number % EDITS_PER_DELETION == EDITS_PER_DELETION - 1 {
            tombstone()
        } else {
            json!([number, "x".repeat(self.plan.padding)])
        };
        let mut edit = self.client.edit(documents[at], &field, value);
        // A client that was given another connection counts on.
        edit.counter = number + 1;
        self.client.send(&edit.message(&number.to_string())).await;
        self.unanswered.insert(number, edit);
    }

    async fn take(&mut self, message: &Value, acks: &watch::Sender<u64>) {
        match message["type"].as_str() {
            Some("ack") => {
                let number = number(&message["messageId"]);
                let edit = number.and_then(|number| self.unanswered.remove(&number));
                let edit = edit.unwrap_or_else(|| {
                    panic!("{message} is for nothing that waits; {}", self.client.story())
                });
                self.acknowledged.push(edit);
                acks.send_modify(|acks| *acks += 1);
            }
            Some("error") => {
                assert_eq!(message["details"]["code"], "STORAGE_UNAVAILABLE", "{message}");
                self.refusals += 1;
                let number = number(&message["details"]["messageId"]).expect("errors name edits");
                let edit = self.unanswered.get(&number).expect("it was not acknowledged before");
                self.client.send(&edit.message(&number.to_string())).await;
            }
            _ => {}
        }
    }

    /// What each field of a document must be when everything is answered: no one else writes it.
    pub(crate) fn fields_of(&self, document: &str) -> BTreeMap<&str, &Value> {
        assert!(self.unanswered.is_empty(), "not answered: {:?}", self.unanswered);
        let mut edits: Vec<_> =
            self.acknowledged.iter().filter(|edit| edit.document == document).collect();
        edits.sort_by_key(|edit| edit.counter);
        edits.into_iter().map(|edit| (edit.field.as_str(), &edit.value)).collect()
    }
}

fn number(message_id: &Value) -> Option<u64> {
    message_id.as_str()?.parse().ok()
}

/// Writers at work.
pub(crate) struct Load {
    writers: JoinSet<(Writer, Option<Closed>)>,
    stop: CancellationToken,
    acks: watch::Receiver<u64>,
}

impl Load {
    pub(crate) fn start(writers: Vec<Writer>) -> Self {
        let stop = CancellationToken::new();
        let (sender, acks) = watch::channel(0);
        let mut tasks = JoinSet::new();
        for mut writer in writers {
            let (stop, acks) = (stop.clone(), sender.clone());
            tasks.spawn(async move {
                let closed = writer.run(&stop, &acks).await;
                (writer, closed)
            });
        }
        Self { writers: tasks, stop, acks }
    }

    /// Acknowledgements so far.
    pub(crate) fn acks(&self) -> u64 {
        *self.acks.borrow()
    }

    /// Waits for so many more acknowledgements.
    pub(crate) async fn more_acks(&self, count: u64) {
        let mut acks = self.acks.clone();
        let wanted = self.acks() + count;
        let waited = timeout(PATIENCE, acks.wait_for(|acks| *acks >= wanted)).await;
        let waited = waited.map(|acks| acks.is_ok());
        assert_eq!(waited, Ok(true), "{} of {wanted} acknowledgements", self.acks());
    }

    /// Stops writing and waits until every edit is answered.
    pub(crate) async fn finish(self) -> Vec<Writer> {
        self.stop.cancel();
        let ended = self.ended().await;
        let one = |(writer, closed): (Writer, Option<Closed>)| {
            assert_eq!(closed, None, "{}", writer.client.story());
            writer
        };
        ended.into_iter().map(one).collect()
    }

    /// Waits until every writer has ended, and says how its connection did.
    pub(crate) async fn ended(mut self) -> Vec<(Writer, Option<Closed>)> {
        let mut ended = Vec::new();
        while let Some(writer) = timeout(LOAD_PATIENCE, self.writers.join_next())
            .await
            .unwrap_or_else(|_| panic!("writers still at work after {LOAD_PATIENCE:?}"))
        {
            ended.push(writer.expect("a writer failed"));
        }
        ended
    }
}

/// A load of thousands of edits, on a machine that tests other things at the same time.
const LOAD_PATIENCE: Duration = Duration::from_secs(50);
