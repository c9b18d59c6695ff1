//! Runs of grapheme clusters with consecutive clocks, and pieces cut out of them.

use std::cmp::Ordering;
use std::ops::Range;

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation};

use crate::ids::ClientId;
use crate::limits::TEXT_RUN_CLUSTERS_MAX;

/// A node that a block was typed next to. It need not exist here, or not yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    pub(super) client: ClientId,
    pub(super) clock: u64,
    pub(super) offset: u64,
}

/// Where a block was typed. Every piece of a split block keeps the block's.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origins {
    pub(super) left: Option<Origin>,
    pub(super) right: Option<Origin>,
}

/// Clusters with consecutive clocks that have all but their text in common, and of which only the
/// last may end its block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    text: String,
    /// Bytes of each cluster; empty when every cluster is one character.
    lengths: Vec<u16>,
    /// Clusters, at most [`TEXT_RUN_CLUSTERS_MAX`].
    count: u16,
    pub(super) deleted: bool,
    pub(super) ends: bool,
    pub(super) origins: Origins,
}

/// Some of a run's clusters, or a text on its way to become runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) text: &'a str,
    /// Bytes of each cluster; empty when every cluster is one character.
    pub(super) lengths: &'a [u16],
    /// Clusters.
    pub(super) count: usize,
    pub(super) deleted: bool,
    /// Whether the last cluster ends its block.
    pub(super) ends: bool,
    pub(super) origins: &'a Origins,
}

impl Run {
    /// Clusters.
    pub(super) fn count(&self) -> u64 {
        self.count.into()
    }

    /// Approximate bytes in memory, the place in its map included.
    pub(super) fn size(&self) -> usize {
        size_of::<(u64, Self)>() + self.text.len() + size_of_val(self.lengths.as_slice())
    }

    pub(super) fn whole(&self) -> Piece<'_> {
        Piece {
            text: &self.text,
            lengths: &self.lengths,
            count: self.count.into(),
            deleted: self.deleted,
            ends: self.ends,
            origins: &self.origins,
        }
    }

    /// Whether `next`, which begins at the clock after this run's last, is of the same block. It
    /// depends on the two clusters that meet only, so that equal texts are cut into equal runs
    /// however they came about.
    pub(super) fn is_continued_by(&self, next: Piece<'_>) -> bool {
        !self.ends
            && self.deleted == next.deleted
            && self.origins == *next.origins
            && stay_apart(self.whole().last(), next.first())
    }

    fn append(&mut self, next: Piece<'_>) {
        if !(self.lengths.is_empty() && next.is_of_single_characters()) {
            if self.lengths.is_empty() {
                self.lengths = self.whole().lengths().collect();
            }
            self.lengths.extend(next.lengths());
        }
        self.text.push_str(next.text);
        self.count = self.count.saturating_add(u16::try_from(next.count).unwrap_or(u16::MAX));
        self.ends = next.ends;
    }
}

impl From<Piece<'_>> for Run {
    fn from(piece: Piece<'_>) -> Self {
        let single = piece.is_of_single_characters();
        let lengths = if single { Vec::new() } else { piece.lengths.to_vec() };
        Self {
            text: piece.text.into(),
            lengths,
            count: u16::try_from(piece.count).unwrap_or(u16::MAX),
            deleted: piece.deleted,
            ends: piece.ends,
            origins: piece.origins.clone(),
        }
    }
}

impl<'a> Piece<'a> {
    /// The clusters of `range`.
    pub(super) fn slice(self, range: Range<usize>) -> Self {
        if range == (0..self.count) {
            return self;
        }
        let (start, end) = (self.byte_at(range.start), self.byte_at(range.end));
        Self {
            text: self.text.get(start..end).unwrap_or_default(),
            lengths: self.lengths.get(range.clone()).unwrap_or_default(),
            count: range.len(),
            ends: self.ends && range.end == self.count,
            ..self
        }
    }

    /// The clusters with clocks of `range`, where the first of all has the clock `first`.
    pub(super) fn clocks(self, first: u64, range: Range<u64>) -> Self {
        let at = |clock: u64| usize::try_from(clock - first).unwrap_or(self.count);
        self.slice(at(range.start)..at(range.end))
    }

    /// One cluster after the other.
    pub(super) fn clusters(self) -> impl Iterator<Item = Self> {
        let mut start = 0;
        self.lengths().enumerate().map(move |(at, length)| {
            let end = start + usize::from(length);
            let text = self.text.get(start..end).unwrap_or_default();
            let lengths = self.lengths.get(at..=at).unwrap_or_default();
            start = end;
            Self { text, lengths, count: 1, ends: self.ends && at + 1 == self.count, ..self }
        })
    }

    /// Whether both are the same clusters with the same origins.
    pub(super) fn has_payload_of(&self, other: &Self) -> bool {
        self.text == other.text
            && self.origins == other.origins
            && self.count == other.count
            && self.lengths().eq(other.lengths())
    }

    /// Which of two clusters with one clock stays, where clients contradict each other.
    pub(super) fn compare_payload(&self, other: &Self) -> Ordering {
        (self.text, self.origins).cmp(&(other.text, other.origins))
    }

    fn lengths(self) -> impl Iterator<Item = u16> {
        let single = if self.lengths.is_empty() { self.text } else { "" };
        let character = |c: char| u16::try_from(c.len_utf8()).unwrap_or_default();
        self.lengths.iter().copied().chain(single.chars().map(character))
    }

    fn is_of_single_characters(&self) -> bool {
        self.lengths.is_empty() || self.count == self.text.chars().count()
    }

    fn byte_at(&self, cluster: usize) -> usize {
        if cluster == self.count {
            self.text.len()
        } else if !self.lengths.is_empty() {
            self.lengths.iter().take(cluster).map(|&length| usize::from(length)).sum()
        } else if self.count == self.text.len() {
            cluster
        } else {
            self.text.char_indices().nth(cluster).map_or(self.text.len(), |(at, _)| at)
        }
    }

    fn first(&self) -> &'a str {
        let end = self.byte_at(1.min(self.count));
        self.text.get(..end).unwrap_or_default()
    }

    fn last(&self) -> &'a str {
        let character = || self.text.chars().next_back().map_or(0, char::len_utf8);
        let length = self.lengths.last().map_or_else(character, |&length| usize::from(length));
        self.text.get(self.text.len() - length..).unwrap_or_default()
    }
}

/// Appends `piece`, whose first cluster has the clock `first`, to runs that all come before it.
pub(super) fn push(runs: &mut Vec<(u64, Run)>, first: u64, piece: Piece<'_>) {
    let mut at = 0;
    while at < piece.count {
        let clock = first + at as u64;
        let room = TEXT_RUN_CLUSTERS_MAX - clock % TEXT_RUN_CLUSTERS_MAX;
        let end = piece.count.min(at + usize::try_from(room).unwrap_or(usize::MAX));
        let part = piece.slice(at..end);
        match runs.last_mut() {
            Some((start, run))
                if *start + run.count() == clock
                    && !clock.is_multiple_of(TEXT_RUN_CLUSTERS_MAX)
                    && run.is_continued_by(part) =>
            {
                run.append(part);
            }
            _ => runs.push((clock, part.into())),
        }
        at = end;
    }
}

/// Bytes of each extended grapheme cluster of `text`, none when each is one character, and how
/// many there are. Nothing when one is too long for the type.
pub(super) fn segment(text: &str) -> Option<(Vec<u16>, usize)> {
    // The line break of two characters is the only longer cluster in ASCII.
    if text.is_ascii() && !text.contains('\r') {
        return Some((Vec::new(), text.len()));
    }
    let length = |cluster: &str| u16::try_from(cluster.len()).ok();
    let mut lengths: Vec<u16> = text.graphemes(true).map(length).collect::<Option<_>>()?;
    let count = lengths.len();
    if count == text.chars().count() {
        lengths.clear();
    }
    Some((lengths, count))
}

/// Whether two clusters are still two when the one's text follows the other's.
fn stay_apart(left: &str, right: &str) -> bool {
    if let (Some(before), Some(after)) = (left.bytes().next_back(), right.bytes().next())
        && before.is_ascii()
        && after.is_ascii()
    {
        return (before, after) != (b'\r', b'\n');
    }
    let both = [left, right].concat();
    GraphemeCursor::new(left.len(), both.len(), true).is_boundary(&both, 0) == Ok(true)
}
