//! A document at a position, as bytes: `SKS`, a version byte, the body, a CRC-32 of all before.
//!
//! Version 1 holds fields only; 2 is version 1 followed by the collections. What has only fields is
//! still written as 1, so that a program that knows no other can read it.

use serde::{Deserialize, Serialize};

use crate::document::Document;
use crate::position::Position;

const MAGIC: &[u8; 3] = b"SKS";
const FIELDS_ONLY: u8 = 1;
const VERSION: u8 = 2;
const HEADER_BYTES: usize = MAGIC.len() + 1;
const CHECKSUM_BYTES: usize = 4;

/// Why bytes are not a snapshot this program can read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Not a snapshot, or cut short.
    #[error("not a snapshot")]
    NotASnapshot,
    /// Written by a newer program.
    #[error("snapshot version {0} is newer than this program reads ({VERSION}): upgrade it")]
    NewerVersion(u8),
    /// The checksum does not match: the bytes were changed since they were written.
    #[error("snapshot is damaged: its checksum does not match")]
    Damaged,
    /// The checksum matches but the content does not parse.
    #[error("snapshot content does not parse: {0}")]
    Content(#[from] postcard::Error),
}

/// A document with its write keys, tombstones and clock, and the position up to which it includes
/// the history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The last delta that is included.
    pub position: Position,
    /// The state there.
    pub document: Document,
}

impl Snapshot {
    /// The stored form.
    ///
    /// # Errors
    /// [`SnapshotError::Content`], which no document made by this crate gives.
    pub fn encode(&self) -> Result<Vec<u8>, SnapshotError> {
        let mut header = Vec::with_capacity(1024);
        header.extend_from_slice(MAGIC);
        let collections = self.document.collections();
        let has_fields_only = collections.is_empty();
        header.push(if has_fields_only { FIELDS_ONLY } else { VERSION });
        let mut bytes = postcard::to_extend(self, header)?;
        if !has_fields_only {
            bytes = postcard::to_extend(collections, bytes)?;
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        Ok(bytes)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`SnapshotError`]; nothing is read in part.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let body_end =
            bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(SnapshotError::NotASnapshot)?;
        let (content, checksum) = bytes.split_at(body_end);
        let (header, body) =
            content.split_at_checked(HEADER_BYTES).ok_or(SnapshotError::NotASnapshot)?;
        let version = match header {
            [magic @ .., version] if magic == MAGIC => *version,
            _ => return Err(SnapshotError::NotASnapshot),
        };
        if version > VERSION {
            return Err(SnapshotError::NewerVersion(version));
        }
        if checksum != crc32fast::hash(content).to_le_bytes() {
            return Err(SnapshotError::Damaged);
        }
        let (mut snapshot, rest) = postcard::take_from_bytes::<Self>(body)?;
        if version > FIELDS_ONLY {
            snapshot.document.collections = Box::new(postcard::from_bytes(rest)?);
        }
        Ok(snapshot)
    }
}
