//! The command `documents`: lists, shows and deletes what the configured storage has.
//!
//! Servers on the same database go on meanwhile: who has a deleted document open is sent its empty
//! state. The schema is not touched.

use std::fmt::Write as _;

use serde_json::{Value, json};
use synckit_engine::document::Document;
use synckit_engine::ids::{DocumentId, InvalidName};
use synckit_store::{DocumentRecord, OpenError, StorageProvider, StoreError};

use crate::config;
use crate::rooms::loader;
use crate::storage;

/// Ids that are read at once.
const PAGE: usize = 1_000;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The ids that begin so, in order.
    List {
        /// What they begin with.
        prefix: String,
        /// At most so many; all without.
        limit: Option<usize>,
    },
    /// What one holds, as JSON.
    Show(String),
    /// Remove these with all their edits.
    Delete(Vec<String>),
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The storage can't be used.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// A call failed; what was done before it stays done.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// No document can be called this.
    #[error("`{id}` is no document id: {rule}")]
    Id {
        /// What was given.
        id: String,
        /// The rule that it breaks.
        rule: InvalidName,
    },
    /// There is no such document.
    #[error("there is no document `{0}`")]
    Absent(DocumentId),
    /// There are none in this storage.
    #[error(
        "storage.provider is inmemory: documents in memory are those of a running server, and \
         this command can't see them"
    )]
    InMemory,
}

impl Error {
    /// Whether somebody has to change something before the same command can succeed.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Open(error) => error.is_configuration(),
            Self::Store(_) | Self::Absent(_) => false,
            Self::Id { .. } | Self::InMemory => true,
        }
    }
}

/// Does it; `say` takes each part of the output as soon as there is one.
///
/// # Errors
/// [`Error`]; of several documents, those before the one that failed are deleted.
pub async fn run(
    config: &config::StorageConfig,
    request: Request,
    say: impl Fn(&str),
) -> Result<(), Error> {
    if matches!(config.provider, config::StorageProvider::InMemory) {
        return Err(Error::InMemory);
    }
    let id = |id: String| DocumentId::new(&id).map_err(|rule| Error::Id { id, rule });
    // All are judged before anything is done.
    let request = match request {
        Request::List { prefix, limit } => {
            let prefix = Some(prefix).filter(|prefix| !prefix.is_empty());
            Job::List { prefix: prefix.map(id).transpose()?, limit }
        }
        Request::Show(document) => Job::Show(id(document)?),
        Request::Delete(documents) => {
            Job::Delete(documents.into_iter().map(id).collect::<Result<_, _>>()?)
        }
    };
    let checking = config::StorageConfig { migrates: false, ..config.clone() };
    let provider = storage::from_config(&checking)?.provider;
    provider.initialize().await?;
    match request {
        Job::List { prefix, limit } => list(&*provider, prefix, limit, say).await,
        Job::Show(document) => show(&*provider, &document, say).await,
        Job::Delete(documents) => {
            for document in documents {
                let was_there = provider.documents().delete(&document).await?;
                say(&format!("{} {document}\n", if was_there { "deleted" } else { "not there:" }));
            }
            Ok(())
        }
    }
}

enum Job {
    List { prefix: Option<DocumentId>, limit: Option<usize> },
    Show(DocumentId),
    Delete(Vec<DocumentId>),
}

async fn list(
    provider: &dyn StorageProvider,
    prefix: Option<DocumentId>,
    limit: Option<usize>,
    say: impl Fn(&str),
) -> Result<(), Error> {
    let store = provider.documents();
    let mut left = limit.unwrap_or(usize::MAX);
    if let Some(prefix) = &prefix
        && left > 0
        && store.exists(prefix).await?
    {
        say(&format!("{prefix}\n"));
        left -= 1;
    }
    let begin = prefix.as_ref().map_or("", DocumentId::as_str);
    let mut after = prefix.clone();
    while left > 0 {
        let page = store.document_ids(PAGE.min(left), after.as_ref()).await?;
        // In the order of their bytes, all that begin with it stand behind it, together.
        let found = page.iter().take_while(|document| document.as_str().starts_with(begin));
        let mut text = String::new();
        let mut count = 0;
        for document in found {
            let _ = writeln!(text, "{document}");
            count += 1;
        }
        say(&text);
        left -= count;
        if count < page.len() || page.is_empty() {
            return Ok(());
        }
        after = page.last().cloned();
    }
    Ok(())
}

async fn show(
    provider: &dyn StorageProvider,
    document: &DocumentId,
    say: impl Fn(&str),
) -> Result<(), Error> {
    let store = provider.documents();
    let absent = || Error::Absent(document.clone());
    let record = store.get(document).await?.ok_or_else(absent)?;
    let loaded = loader::load(store, document).await?.snapshot;
    let text = serde_json::to_string_pretty(&as_json(&record, &loaded.document));
    say(&text.unwrap_or_default());
    say("\n");
    Ok(())
}

fn as_json(record: &DocumentRecord, document: &Document) -> Value {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| json!(text));
    let fields =
        document.live_fields().map(|(name, value)| (name.to_string(), parsed(value.as_str())));
    let collections = document.collections();
    let set: Vec<Value> = collections.set().elements().map(|it| parsed(it.as_str())).collect();
    let time = |time| humantime::format_rfc3339_millis(time).to_string();
    json!({
        "id": record.id.as_str(),
        "createdAt": time(record.created_at),
        "updatedAt": time(record.updated_at),
        "edits": record.head.seq.0,
        "stamp": document.stamp(),
        "state": fields.collect::<serde_json::Map<_, _>>(),
        "textBlocks": collections.text().blocks(),
        "counter": collections.counter().total().to_string(),
        "set": set,
        "formats": collections.formats().count(),
    })
}
