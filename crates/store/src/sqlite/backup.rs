//! A copy of the file as it is at one moment, made beside a process that uses it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{Cause, OpenError, StoreError};

use super::failure::unusable;
use super::file::look_into;

/// Copies the documents at `from` into a new file `to`, which is there whole or not at all; its size
/// in bytes. Writing goes on meanwhile, and is not in the copy.
///
/// # Errors
/// [`OpenError`] when there is no such file, or it can't be copied there; nothing is left behind
/// then but perhaps a file whose name ends in `.partial`.
pub async fn backup(from: PathBuf, to: PathBuf) -> Result<u64, OpenError> {
    let copied = tokio::task::spawn_blocking(move || copy(&from, &to)).await;
    copied.unwrap_or_else(|error| {
        Err(StoreError::unavailable(Cause::Other, format!("the copy failed: {error}")).into())
    })
}

fn copy(from: &Path, to: &Path) -> Result<u64, OpenError> {
    let Some(source) = look_into(from)? else {
        return Err(unusable(from, &"there is no such file"));
    };
    let failed = |error: std::io::Error| unusable(to, &error);
    if to.try_exists().map_err(failed)? {
        return Err(unusable(to, &"is there already; choose another name"));
    }
    let mut partial = OsString::from(to);
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let Some(name) = partial.to_str() else {
        return Err(unusable(to, &"the name must be Unicode text"));
    };
    // It reads in one transaction, so all of it is of one moment.
    source.pragma_update(None, "query_only", false).map_err(|error| unusable(from, &error))?;
    source.execute("VACUUM INTO ?1", [name]).map_err(|error| unusable(from, &error))?;
    // SQLite writes the copy without waiting for the disk.
    let file = File::open(&partial).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    // Not over a file that somebody made meanwhile.
    fs::hard_link(&partial, to).map_err(failed)?;
    fs::remove_file(&partial).map_err(failed)?;
    let directory = match to.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
    Ok(bytes)
}
