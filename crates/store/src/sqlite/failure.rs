//! What an error of SQLite means to a caller.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::error::StoreError;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            // Room comes back, and so do disks; until then nothing is lost but the one call.
            Some(
                ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::OutOfMemory,
            ) => Self::Unavailable(text),
            // Another program that looks into the file may lock it for a while.
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed,
            ) => Self::Conflict(text),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Refused(format!("the database file is damaged: {text}"))
            }
            _ => Self::Refused(text),
        }
    }
}

/// An error before the file is in use: whatever it is, the path is what can be changed.
pub(super) fn unusable(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Refused(format!("{}: {error}", path.display()))
}
