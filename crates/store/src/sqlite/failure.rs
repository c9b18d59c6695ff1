//! What an error of SQLite means to the caller: whether the edit or the store is at fault, and what
//! an operator has to look at.

use std::path::Path;

use rusqlite::{Error, ffi};

use crate::error::{Cause, OpenError, StoreError};
use crate::sql::Meaning::{self, Edit, Store};

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match &error {
            Error::SqliteFailure(failure, _) => meaning(failure.extended_code).with_reason(text),
            Error::ToSqlConversionFailure(_) => Self::EditRefused(text),
            Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
            | Error::Utf8Error(..) => Self::unavailable(Cause::Damaged, text),
            _ => Self::unavailable(Cause::Other, text),
        }
    }
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        StoreError::from(error).into()
    }
}

/// By the primary code. Every one of SQLite's is here.
const MEANINGS: [(i32, Meaning); 31] = [
    (ffi::SQLITE_OK, Store(Cause::Other)),
    // Among others a table that isn't there.
    (ffi::SQLITE_ERROR, Store(Cause::SchemaMissing)),
    (ffi::SQLITE_INTERNAL, Store(Cause::Other)),
    (ffi::SQLITE_PERM, Store(Cause::PermissionMissing)),
    (ffi::SQLITE_ABORT, Store(Cause::Interrupted)),
    // Another program that looks into the file may lock it for a while.
    (ffi::SQLITE_BUSY, Store(Cause::Conflict)),
    (ffi::SQLITE_LOCKED, Store(Cause::Conflict)),
    (ffi::SQLITE_NOMEM, Store(Cause::Overloaded)),
    (ffi::SQLITE_READONLY, Store(Cause::ReadOnly)),
    (ffi::SQLITE_INTERRUPT, Store(Cause::Interrupted)),
    (ffi::SQLITE_IOERR, Store(Cause::DiskFailing)),
    (ffi::SQLITE_CORRUPT, Store(Cause::Damaged)),
    (ffi::SQLITE_NOTFOUND, Store(Cause::Other)),
    (ffi::SQLITE_FULL, Store(Cause::DiskFull)),
    (ffi::SQLITE_CANTOPEN, Store(Cause::Unreachable)),
    (ffi::SQLITE_PROTOCOL, Store(Cause::Conflict)),
    (ffi::SQLITE_EMPTY, Store(Cause::Other)),
    (ffi::SQLITE_SCHEMA, Store(Cause::SchemaMissing)),
    (ffi::SQLITE_TOOBIG, Edit),
    (ffi::SQLITE_CONSTRAINT, Edit),
    (ffi::SQLITE_MISMATCH, Edit),
    (ffi::SQLITE_MISUSE, Store(Cause::Other)),
    (ffi::SQLITE_NOLFS, Store(Cause::DiskFull)),
    (ffi::SQLITE_AUTH, Store(Cause::PermissionMissing)),
    (ffi::SQLITE_FORMAT, Store(Cause::Damaged)),
    (ffi::SQLITE_RANGE, Store(Cause::Other)),
    (ffi::SQLITE_NOTADB, Store(Cause::Damaged)),
    (ffi::SQLITE_NOTICE, Store(Cause::Other)),
    (ffi::SQLITE_WARNING, Store(Cause::Other)),
    (ffi::SQLITE_ROW, Store(Cause::Other)),
    (ffi::SQLITE_DONE, Store(Cause::Other)),
];

fn meaning(extended_code: i32) -> Meaning {
    let primary = extended_code & 0xff;
    let known = MEANINGS.iter().find(|(code, _)| *code == primary);
    known.map_or(Store(Cause::Other), |(_, meaning)| *meaning)
}

/// Whether a row stands where the next one of its document belongs.
pub(super) fn is_taken(error: &Error) -> bool {
    let taken = [ffi::SQLITE_CONSTRAINT_PRIMARYKEY, ffi::SQLITE_CONSTRAINT_UNIQUE];
    error.sqlite_error().is_some_and(|failure| taken.contains(&failure.extended_code))
}

/// An error before the file is in use: whatever it is, the path is what can be changed.
pub(super) fn unusable(path: &Path, error: &dyn std::fmt::Display) -> OpenError {
    OpenError::Configuration(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the page "Result and Error Codes", in its order of numbers.
    const NAMES: [&str; 29] = [
        "OK",
        "ERROR",
        "INTERNAL",
        "PERM",
        "ABORT",
        "BUSY",
        "LOCKED",
        "NOMEM",
        "READONLY",
        "INTERRUPT",
        "IOERR",
        "CORRUPT",
        "NOTFOUND",
        "FULL",
        "CANTOPEN",
        "PROTOCOL",
        "EMPTY",
        "SCHEMA",
        "TOOBIG",
        "CONSTRAINT",
        "MISMATCH",
        "MISUSE",
        "NOLFS",
        "AUTH",
        "FORMAT",
        "RANGE",
        "NOTADB",
        "NOTICE",
        "WARNING",
    ];

    #[test]
    fn each_primary_code_says_whether_the_edit_or_the_store_is_at_fault() {
        for (code, name) in (0..).zip(NAMES) {
            assert!(MEANINGS.iter().any(|(known, _)| *known == code), "{name} has no meaning");
            let is_edit = ["TOOBIG", "CONSTRAINT", "MISMATCH"].contains(&name);
            assert_eq!(meaning(code) == Edit, is_edit, "{name}");
        }
        for (name, code, cause) in [
            ("a damaged file", ffi::SQLITE_CORRUPT, Cause::Damaged),
            ("a file that was written over", ffi::SQLITE_NOTADB, Cause::Damaged),
            ("a removed file", ffi::SQLITE_READONLY_DBMOVED, Cause::ReadOnly),
            ("a file that can't be opened", ffi::SQLITE_CANTOPEN, Cause::Unreachable),
            ("a full disk", ffi::SQLITE_FULL, Cause::DiskFull),
            ("a disk that fails writes", ffi::SQLITE_IOERR_WRITE, Cause::DiskFailing),
            ("another program's lock", ffi::SQLITE_BUSY_SNAPSHOT, Cause::Conflict),
            ("a code of a later version", 99, Cause::Other),
        ] {
            assert_eq!(meaning(code), Store(cause), "{name}");
        }
    }
}
