//! Why a back end could not be opened, and why a call did not do as asked.
//!
//! The two are apart because their readers are: an operator starts a server and mends its
//! configuration, while a call's error decides what a client is told about its user's work. So the
//! variants of [`StoreError`] are what to do with an edit, and none of them can be read two ways.
//! Texts are for operators and are never sent to a client.

use std::fmt;
use std::time::Duration;

use synckit_engine::ids::DocumentId;
use synckit_engine::position::Seq;

/// Why a back end could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// What the operator wrote is wrong, or does not fit what is there: an address, a password, a
    /// path, a certificate, a right. Trying again does not help.
    #[error("{0}")]
    Configuration(String),
    /// The tables are not ones that this program can work with, and it can't make them so. Trying
    /// again does not help.
    #[error("schema: {0}")]
    Schema(String),
    /// The database is not there yet, or can't be written now: the same start may succeed later.
    #[error("{0}")]
    Unavailable(Unavailable),
}

/// Why a call did not do as asked. Each variant says what becomes of an edit; all are listed, with
/// no room for more, so that a caller decides about each.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store can't do its work now, and what was asked is not at fault: hold it and repeat the
    /// call. An append that failed so may have taken effect; repeating it is safe by S3.
    ///
    /// On the wire `STORAGE_UNAVAILABLE`, after it was held: the client keeps its edit.
    #[error("{0}")]
    Unavailable(Unavailable),
    /// The data of one edit of the batch can't be stored, whoever asks and whenever: too large a
    /// number, a character that the database has not. Nothing of the batch is stored.
    ///
    /// On the wire `STORAGE_REFUSED` for that edit, found by splitting the batch: the client drops
    /// it. The only error that may ever lead there.
    #[error("the data of an edit can't be stored: {0}")]
    EditRefused(String),
    /// What is stored of this document makes no sense. Nothing of the batch is stored; the other
    /// documents of it can be.
    ///
    /// On the wire `DOCUMENT_DAMAGED` for who reads the document, and `STORAGE_UNAVAILABLE` for an
    /// edit of it: an operator may mend it, so the client keeps its edit.
    #[error("stored data of document {document} is damaged: {reason}")]
    DocumentDamaged {
        /// Whose data.
        document: DocumentId,
        /// What is wrong with it.
        reason: String,
    },
    /// The call broke a rule of the contract: a mistake of this program. Nothing was done.
    ///
    /// On the wire `STORAGE_UNAVAILABLE`: no mistake of this program makes a client drop an edit.
    #[error("a call that the contract forbids: {0}")]
    Misuse(String),
}

/// That a store can't do its work now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("store is not available: {cause}: {reason}")]
pub struct Unavailable {
    /// The kind, which says what an operator has to look at.
    pub cause: Cause,
    /// In the words of the back end.
    pub reason: String,
}

/// Why a store can't do its work, by what an operator has to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nobody answers at the address, or the connection broke.
    Unreachable,
    /// No answer within the deadline of a call. Whether it took effect is not known.
    Timeout,
    /// The database ended the call or the connection: it stops, starts or recovers, or somebody
    /// cancelled the call.
    Interrupted,
    /// Too many connections, too little memory, or a limit of the database's own configuration.
    Overloaded,
    /// Another transaction or program was in the way.
    Conflict,
    /// The database does not let this server in: password, role, or its list of who may connect.
    CredentialsRefused,
    /// The two sides can't agree on how to encrypt or on who they are; a certificate, mostly.
    Encryption,
    /// The server has no such database.
    DatabaseMissing,
    /// The role may not read or write the tables.
    PermissionMissing,
    /// A schema, table, column or function is not there, or is another one.
    SchemaMissing,
    /// The database takes no writes: a standby, a setting, or a file system.
    ReadOnly,
    /// No room for what is to be written.
    DiskFull,
    /// The disk or the file system fails.
    DiskFailing,
    /// Stored data can't be read, beyond one document.
    Damaged,
    /// The way to the database works against this program: a pooler, or a server of another kind.
    Misconfigured,
    /// What is stored was made by a newer program: this one has to be upgraded.
    Newer,
    /// Something that fits no other kind.
    Other,
}

impl Cause {
    /// In few words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
            Self::Overloaded => "overloaded",
            Self::Conflict => "conflict",
            Self::CredentialsRefused => "credentials refused",
            Self::Encryption => "encryption",
            Self::DatabaseMissing => "database missing",
            Self::PermissionMissing => "permission missing",
            Self::SchemaMissing => "schema missing",
            Self::ReadOnly => "read-only",
            Self::DiskFull => "disk full",
            Self::DiskFailing => "disk failing",
            Self::Damaged => "damaged",
            Self::Misconfigured => "misconfigured",
            Self::Newer => "made by a newer program",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl OpenError {
    /// Whether somebody has to change something before another start can succeed.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Configuration(_) | Self::Schema(_) => true,
            Self::Unavailable(_) => false,
        }
    }
}

impl From<StoreError> for OpenError {
    /// A call that is made while a back end opens: what waits and heals by itself while a server
    /// runs may be a mistake in the configuration of one that starts.
    fn from(error: StoreError) -> Self {
        let unavailable = match error {
            StoreError::Unavailable(unavailable) => unavailable,
            StoreError::EditRefused(reason) => return Self::Configuration(reason),
            other => return Self::Configuration(other.to_string()),
        };
        match unavailable.cause {
            Cause::Unreachable
            | Cause::Timeout
            | Cause::Interrupted
            | Cause::Overloaded
            | Cause::Conflict
            | Cause::ReadOnly
            | Cause::DiskFull
            | Cause::DiskFailing => Self::Unavailable(unavailable),
            Cause::SchemaMissing => Self::Schema(unavailable.reason),
            Cause::CredentialsRefused
            | Cause::Encryption
            | Cause::DatabaseMissing
            | Cause::PermissionMissing
            | Cause::Damaged
            | Cause::Misconfigured
            | Cause::Newer
            | Cause::Other => {
                Self::Configuration(format!("{}: {}", unavailable.cause, unavailable.reason))
            }
        }
    }
}

impl StoreError {
    /// For [`StoreError::Unavailable`].
    pub fn unavailable(cause: Cause, reason: impl Into<String>) -> Self {
        Self::Unavailable(Unavailable { cause, reason: reason.into() })
    }

    /// The kind, where the store can't do its work now.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::Unavailable(unavailable) => Some(unavailable.cause),
            Self::EditRefused(_) | Self::DocumentDamaged { .. } | Self::Misuse(_) => None,
        }
    }

    /// Whether the same call may succeed later, unchanged.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.cause().is_some()
    }

    pub(crate) fn timeout(after: Duration) -> Self {
        Self::unavailable(Cause::Timeout, format!("no answer within {after:?}"))
    }

    pub(crate) fn damaged(document: &DocumentId, reason: impl Into<String>) -> Self {
        Self::DocumentDamaged { document: document.clone(), reason: reason.into() }
    }

    pub(crate) fn snapshot_ahead(document: &DocumentId, position: Seq, head: Seq) -> Self {
        Self::Misuse(format!(
            "snapshot of document {document} at {} is ahead of its last delta {}",
            position.0, head.0
        ))
    }
}
