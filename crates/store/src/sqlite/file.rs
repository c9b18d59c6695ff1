//! The database file: whose it is, that nobody else uses it, and connections to it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::{Cause, OpenError, StoreError};

use super::failure::unusable;

/// "Sync" in ASCII. Marks a file as one of this program.
pub(super) const APPLICATION_ID: i32 = 0x5379_6e63;

/// How long to wait for another program that looks into the file. Shorter than the deadline of a
/// call, so that the caller learns the reason.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Statements that a connection keeps; more than there are.
const STATEMENTS_MAX: usize = 64;

/// The log is cut back to this size when it once was larger.
const LOG_BYTES_KEPT: i64 = 64 << 20;

/// Pages that the writer keeps in memory, in KiB. The indexes of documents in use stay in it.
const WRITER_CACHE_KIB: i64 = 32 << 10;

/// As [`WRITER_CACHE_KIB`], of each reader. The operating system's cache is behind it.
const READER_CACHE_KIB: i64 = 4 << 10;

/// With less than this free an edit of ordinary size may find no room.
const FREE_BYTES_MIN: u64 = 256 << 10;

/// The file, for one process at a time.
#[derive(Debug, Clone)]
pub(super) struct DatabaseFile {
    path: Arc<Path>,
    /// The files that are open, by what is added to the path.
    opened: Arc<OnceLock<Vec<(PathBuf, FileId)>>>,
    /// Locked until the last clone is dropped.
    _lock: Arc<File>,
}

impl DatabaseFile {
    /// Takes the file for this process, or says who has it. Creates nothing but the file beside it
    /// that is locked; that one stays, since to remove it would race with the next who locks it.
    pub(super) fn claim(path: &Path) -> Result<Self, OpenError> {
        let path = resolve(path)?;
        let mut lock_path = OsString::from(&path);
        lock_path.push(".lock");
        let lock_path = PathBuf::from(lock_path);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|error| refused(&lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.into(), opened: Arc::default(), _lock: Arc::new(lock) }),
            Err(TryLockError::WouldBlock) => Err(unusable(
                &path,
                &"another process uses this file; stop that process or choose another path",
            )),
            Err(TryLockError::Error(error)) => Err(refused(&lock_path, &error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The connection that writes. Makes the file when there is none; refuses, unchanged, one that
    /// another program made.
    pub(super) fn open_writer(&self) -> Result<Connection, OpenError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed = |error: rusqlite::Error| unusable(&self.path, &error);
        let connection = Connection::open_with_flags(&self.path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        check_owner(&self.path, &connection)?;
        if connection.is_readonly("main").map_err(failed)? {
            let text = "this file can't be written; change its permissions or choose another path";
            return Err(unusable(&self.path, &text));
        }
        let mode: String = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
            .map_err(failed)?;
        if mode != "wal" {
            let text = "the file system has no shared memory; choose a path on a local disk";
            return Err(unusable(&self.path, &text));
        }
        prepare(&connection, WRITER_CACHE_KIB).map_err(failed)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT).map_err(failed)?;
        Ok(connection)
    }

    pub(super) fn open_reader(&self) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        prepare(&connection, READER_CACHE_KIB)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }

    /// Makes the names of new files survive a loss of power; SQLite sees to their content.
    pub(super) fn sync_directory(&self) -> Result<(), OpenError> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| unusable(directory, &error))
    }
}

/// A file of this machine, whatever it is called.
#[derive(Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

impl DatabaseFile {
    /// Notes which files are open: the database and its log. To be called when both are there.
    pub(super) fn note_opened(&self) {
        let mut log = OsString::from(&*self.path);
        log.push("-wal");
        let found = [self.path.to_path_buf(), PathBuf::from(log)]
            .map(|path| FileId::of(&path).ok().map(|id| (path, id)));
        let _ = self.opened.set(found.into_iter().flatten().collect());
    }

    /// Fails when what would be written went where nobody finds it again: a file that is open was
    /// removed, moved or replaced.
    pub(super) fn check_place(&self) -> Result<(), StoreError> {
        for (path, opened) in self.opened.get().into_iter().flatten() {
            if FileId::of(path).as_ref().ok() != Some(opened) {
                let path = path.display();
                let reason = format!(
                    "{path} was removed, moved or replaced while it is open; put it back, or \
                     restart the server to go on with what is there"
                );
                return Err(StoreError::unavailable(Cause::Misconfigured, reason));
            }
        }
        Ok(())
    }

    /// Fails when the file system takes no writes, or has hardly room for one.
    pub(super) fn check_room(&self) -> Result<(), StoreError> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let Ok(found) = rustix::fs::statvfs(directory) else { return Ok(()) };
        if found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
            let reason = format!("{} is on a read-only file system", self.path.display());
            return Err(StoreError::unavailable(Cause::ReadOnly, reason));
        }
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        if free < FREE_BYTES_MIN {
            let reason = format!("{free} bytes are free for {}", self.path.display());
            return Err(StoreError::unavailable(Cause::DiskFull, reason));
        }
        Ok(())
    }
}

/// Refuses a file that another program made.
fn check_owner(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let text = "SELECT (SELECT application_id FROM pragma_application_id), \
        (SELECT count(*) FROM sqlite_schema)";
    let found: Result<(i32, i64), _> =
        connection.query_row(text, [], |row| Ok((row.get(0)?, row.get(1)?)));
    let is_ours = match found {
        Ok((APPLICATION_ID, _)) => true,
        // New, or left behind by a start that was cut off.
        Ok((0, tables)) => tables == 0,
        Ok((_, _)) => false,
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => false,
        Err(error) => return Err(unusable(path, &error)),
    };
    if is_ours {
        return Ok(());
    }
    Err(OpenError::Schema(format!(
        "{} was made by another program; choose another path",
        path.display()
    )))
}

/// A connection that only looks, also beside a process that uses the file. None when there is no
/// file; none is made.
pub(super) fn look_into(path: &Path) -> Result<Option<Connection>, OpenError> {
    let path = resolve(path)?;
    match path.try_exists() {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(error) => return Err(refused(&path, &error)),
    }
    // To read beside a process that writes takes a place in the file that it shares with readers.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |error: rusqlite::Error| unusable(&path, &error);
    let connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    connection.pragma_update(None, "query_only", true).map_err(failed)?;
    check_owner(&path, &connection)?;
    Ok(Some(connection))
}

fn prepare(connection: &Connection, cache_kib: i64) -> Result<(), rusqlite::Error> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    // Otherwise statements are compiled again for other values, which can't change their plans.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // There are none; looking for them would still cost on each delete.
    connection.pragma_update(None, "foreign_keys", false)
}

/// The one name of the file, however it was written, so that two processes lock the same.
fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    match std::fs::canonicalize(path) {
        Ok(found) if found.is_dir() => {
            return Err(unusable(&found, &"this is a directory; expected the path of a file"));
        }
        Ok(found) => return Ok(found),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(refused(path, &error)),
    }
    let Some(name) = path.file_name() else {
        return Err(unusable(path, &"expected the path of a file"));
    };
    let directory = match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    match std::fs::canonicalize(directory) {
        Ok(directory) => Ok(directory.join(name)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let text = format!(
                "the directory {} does not exist; make it or choose another path",
                directory.display()
            );
            Err(unusable(path, &text))
        }
        Err(error) => Err(refused(path, &error)),
    }
}

fn refused(path: &Path, error: &io::Error) -> OpenError {
    unusable(path, &format!("{error}; choose a path where this program may make and write files"))
}
