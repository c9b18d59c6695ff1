//! The client that an application uses: a replica with a connection that is made again whenever it
//! ends. Here are the clocks, the pauses and the chance.

mod document;
mod heartbeat;
mod link;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::handshake::{Address, ConnectError};
use crate::replica::{EditNumber, Refusal, Replica};
use link::Link;

pub use document::{Document, EditError, Receipt};

/// How a client connects.
#[derive(Clone)]
pub struct Options {
    url: String,
    token: Option<String>,
    client_id: Option<String>,
}

impl Options {
    /// A client of the server at a URL such as `ws://127.0.0.1:8080/ws`.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), token: None, client_id: None }
    }

    /// Says who the user is, first on each connection.
    #[must_use]
    pub fn token(self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self }
    }

    /// The client id, instead of one that is drawn. No other client may ever have it, nor this one
    /// after it has lost its queue.
    #[must_use]
    pub fn client_id(self, client_id: impl Into<String>) -> Self {
        Self { client_id: Some(client_id.into()), ..self }
    }
}

/// How the client stands with the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// There is no connection, for this reason, and there will be another attempt.
    Connecting(String),
    /// There is a connection.
    Connected,
    /// There is no connection and will be none, for this reason.
    Ended(String),
}

/// A client of one server, for any number of documents. Dropping it ends the connection at once and
/// forgets what was not stored; see [`Client::close`].
pub struct Client {
    shared: Arc<Shared>,
    /// Aborts the connection when it is dropped.
    link: JoinSet<()>,
}

/// What the application and the link both use.
struct Shared {
    replica: Mutex<Replica>,
    /// The replica has something new to say.
    work: Notify,
    closing: CancellationToken,
    status: watch::Sender<Status>,
    /// Counts the changes of each document that was opened.
    changes: Mutex<BTreeMap<String, watch::Sender<u64>>>,
    /// Those who wait for an edit. As many as the replica queues edits.
    receipts: Mutex<BTreeMap<EditNumber, oneshot::Sender<Result<(), Refusal>>>>,
}

impl Client {
    /// A client that begins to connect; whether that works shows in [`Client::status`]. Edits can be
    /// made at once.
    ///
    /// # Errors
    /// [`ConnectError::Url`] when the URL makes no sense.
    pub fn connect(options: &Options) -> Result<Self, ConnectError> {
        let address = Address::from_url(&options.url)?;
        let drawn = || format!("client-{}", uuid::Uuid::new_v4().simple());
        let client_id = options.client_id.clone().unwrap_or_else(drawn);
        let shared = Arc::new(Shared {
            replica: Mutex::new(Replica::new(client_id)),
            work: Notify::new(),
            closing: CancellationToken::new(),
            status: watch::Sender::new(Status::Connecting("new".to_owned())),
            changes: Mutex::default(),
            receipts: Mutex::default(),
        });
        let mut link = JoinSet::new();
        link.spawn(Link::new(Arc::clone(&shared), address, options.token.clone()).run());
        Ok(Self { shared, link })
    }

    /// Its client id.
    #[must_use]
    pub fn client_id(&self) -> String {
        self.shared.replica.lock().client_id().to_owned()
    }

    /// How it stands with the server, and every change of that.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    /// Follows a document.
    #[must_use]
    pub fn open(&self, name: &str) -> Document {
        let document = Document::new(Arc::clone(&self.shared), name);
        self.shared.replica.lock().open(name);
        self.shared.work.notify_one();
        document
    }

    /// Edits that are not known to be stored.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.replica.lock().queued()
    }

    /// Ends the connection in order. What is not stored by then is forgotten: wait for the receipts
    /// of edits first.
    pub async fn close(mut self) {
        self.shared.closing.cancel();
        while self.link.join_next().await.is_some() {}
    }
}

impl Shared {
    /// Tells the application what the replica has learnt.
    fn publish(&self) {
        let (changed, outcomes) = {
            let mut replica = self.replica.lock();
            (replica.take_changed(), replica.take_outcomes())
        };
        let changes = self.changes.lock();
        for document in changed {
            if let Some(count) = changes.get(&document) {
                count.send_modify(|count| *count += 1);
            }
        }
        drop(changes);
        let mut receipts = self.receipts.lock();
        for outcome in outcomes {
            if let Err(refusal) = &outcome.result {
                let (code, reason) = (&refusal.code, &refusal.reason);
                tracing::warn!(document.id = outcome.edit.document, code, reason, "edit refused");
            }
            if let Some(receipt) = receipts.remove(&outcome.edit) {
                // Nobody has to wait for an edit.
                let _ = receipt.send(outcome.result);
            }
        }
    }

    /// Nothing is sent any more, so nobody need wait.
    fn end(&self, reason: &dyn std::fmt::Display) {
        // Held by whoever makes an edit, so that no receipt comes behind the end.
        let _replica = self.replica.lock();
        self.status.send_replace(Status::Ended(reason.to_string()));
        self.receipts.lock().clear();
    }
}
