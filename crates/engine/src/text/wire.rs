//! The JSON in which clients send a text, and read it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::TextState;
use super::run::{Origin, Origins, Piece, Run, push, segment};
use super::runs::Runs;
use crate::ids::{ClientId, InvalidName};
use crate::json::{write_number, write_string};
use crate::limits::{
    EDIT_NUMBER_MAX, TEXT_BLOCKS_MAX, TEXT_CLUSTER_BYTES_MAX, TEXT_STATE_BYTES_MAX,
};

/// Why a text state was refused. The text is fit to be shown to the client that sent it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidText {
    /// Not the JSON of a text.
    #[error(
        "a text state is the JSON {{\"blocks\":[[id,block],...],\"clock\":{{\"value\":n}},\
         \"client_id\":\"...\"}}: {0}"
    )]
    Json(#[from] serde_json::Error),
    /// Too long.
    #[error("a text state has at most {TEXT_STATE_BYTES_MAX} bytes; this one has {0}")]
    TooLong(usize),
    /// Too many blocks.
    #[error("a text has at most {TEXT_BLOCKS_MAX} blocks; this one has {0}")]
    TooManyBlocks(usize),
    /// A client id that breaks its rule.
    #[error("{0}, also within a text")]
    Client(#[from] InvalidName),
    /// A block stands under another name than its own.
    #[error("block {0} must stand under its own id as key")]
    KeyDiffers(String),
    /// A block's id has an offset.
    #[error("block {0} must have the offset 0 in its id")]
    Offset(String),
    /// A block without text.
    #[error("block {0} must have a text that is not empty")]
    Empty(String),
    /// A grapheme cluster that is too long.
    #[error("each grapheme cluster of block {0} must have at most {TEXT_CLUSTER_BYTES_MAX} bytes")]
    Cluster(String),
    /// A block's first cluster would have a clock below 1.
    #[error("block {0} must have a clock of at least {1}, the number of its grapheme clusters")]
    ClockTooSmall(String, usize),
    /// A block from after the text's clock.
    #[error("block {0} must have a clock of at most {1}, the text's clock value")]
    AheadOfClock(String, u64),
    /// A clock value out of range.
    #[error("a text's clock value is at most {EDIT_NUMBER_MAX}; this one is {0}")]
    ClockTooGreat(u64),
    /// Two blocks of one client share clocks.
    #[error("block {0} must not share clocks with another block of its client")]
    Overlap(String),
}

#[derive(Deserialize)]
struct WireText<'a> {
    #[serde(borrow)]
    blocks: Vec<(WireId<'a>, WireBlock<'a>)>,
    clock: WireClock,
}

#[derive(Deserialize)]
struct WireClock {
    value: u64,
}

#[derive(PartialEq, Eq, Deserialize)]
struct WireId<'a> {
    #[serde(borrow)]
    client_id: Cow<'a, str>,
    clock: u64,
    offset: u64,
}

#[derive(Deserialize)]
struct WireBlock<'a> {
    #[serde(borrow)]
    id: WireId<'a>,
    #[serde(borrow)]
    text: Cow<'a, str>,
    #[serde(borrow)]
    left_origin: Option<WireId<'a>>,
    #[serde(borrow)]
    right_origin: Option<WireId<'a>>,
    deleted: bool,
}

/// Client ids that were read, so that each is checked and kept once.
#[derive(Default)]
struct Names<'a>(HashMap<&'a str, ClientId>);

impl<'a> Names<'a> {
    fn get(&mut self, name: &'a str) -> Result<ClientId, InvalidName> {
        if let Some(client) = self.0.get(name) {
            return Ok(client.clone());
        }
        let client = ClientId::new(name)?;
        self.0.insert(name, client.clone());
        Ok(client)
    }

    fn origin(&mut self, id: Option<&'a WireId<'_>>) -> Result<Option<Origin>, InvalidName> {
        let read = |id: &'a WireId<'_>| {
            let client = self.get(&id.client_id)?;
            Ok(Origin { client, clock: id.clock, offset: id.offset })
        };
        id.map(read).transpose()
    }
}

impl TextState {
    /// Reads the state that a client sent.
    ///
    /// # Errors
    /// [`InvalidText`] for anything that no sound client sends; nothing is read in part.
    pub fn parse(json: &str) -> Result<Self, InvalidText> {
        if json.len() > TEXT_STATE_BYTES_MAX {
            return Err(InvalidText::TooLong(json.len()));
        }
        let WireText { blocks, clock } = serde_json::from_str(json)?;
        if blocks.len() > TEXT_BLOCKS_MAX {
            return Err(InvalidText::TooManyBlocks(blocks.len()));
        }
        if clock.value > EDIT_NUMBER_MAX {
            return Err(InvalidText::ClockTooGreat(clock.value));
        }
        let mut by_client: BTreeMap<&str, Vec<Segmented<'_>>> = BTreeMap::new();
        for (key, block) in &blocks {
            if *key != block.id {
                return Err(InvalidText::KeyDiffers(name(block)));
            }
            let segmented = check(block, clock.value)?;
            by_client.entry(&block.id.client_id).or_default().push(segmented);
        }
        let mut names = Names::default();
        let mut clients = BTreeMap::new();
        for (client, mut blocks) in by_client {
            let client = names.get(client)?;
            blocks.sort_by_key(|block| block.first);
            clients.insert(client, read_runs(&blocks, &mut names)?);
        }
        Ok(Self { clock: clock.value, clients })
    }

    /// The state as clients read it, with blocks by clock and then client. `replica` is the
    /// client id that it names as its writer.
    #[must_use]
    pub fn to_json(&self, replica: &str) -> String {
        let mut blocks: Vec<Block<'_>> = Vec::new();
        for (client, runs) in &self.clients {
            let mut client_blocks = blocks_of(client, runs);
            blocks.append(&mut client_blocks);
        }
        // Each client's are sorted already, which this sort makes use of.
        blocks.sort_by(|a, b| (a.last, a.client).cmp(&(b.last, b.client)));
        let mut out = Vec::with_capacity(self.size() * 2);
        out.extend_from_slice(b"{\"blocks\":[");
        for (at, block) in blocks.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            block.write(&mut out);
        }
        out.extend_from_slice(b"],\"clock\":{\"value\":");
        let last = blocks.last().map_or(0, |block| block.last);
        write_number(&mut out, self.clock.max(last));
        out.extend_from_slice(b"},\"client_id\":");
        write_string(&mut out, replica);
        out.push(b'}');
        // Made of strings and ASCII only.
        String::from_utf8(out).unwrap_or_default()
    }
}

/// A block that was checked, divided into clusters.
struct Segmented<'a> {
    /// The clock of the first cluster.
    first: u64,
    lengths: Vec<u16>,
    count: usize,
    block: &'a WireBlock<'a>,
}

fn check<'a>(block: &'a WireBlock<'a>, text_clock: u64) -> Result<Segmented<'a>, InvalidText> {
    let clock = block.id.clock;
    if block.id.offset != 0 {
        return Err(InvalidText::Offset(name(block)));
    }
    if block.text.is_empty() {
        return Err(InvalidText::Empty(name(block)));
    }
    if clock > text_clock {
        return Err(InvalidText::AheadOfClock(name(block), text_clock));
    }
    let fits = |&length: &u16| usize::from(length) <= TEXT_CLUSTER_BYTES_MAX;
    let (lengths, count) = segment(&block.text)
        .filter(|(lengths, _)| lengths.iter().all(fits))
        .ok_or_else(|| InvalidText::Cluster(name(block)))?;
    match (clock + 1).checked_sub(count as u64) {
        None | Some(0) => Err(InvalidText::ClockTooSmall(name(block), count)),
        Some(first) => Ok(Segmented { first, lengths, count, block }),
    }
}

/// The runs of one client, out of its blocks in order.
fn read_runs<'a>(blocks: &[Segmented<'a>], names: &mut Names<'a>) -> Result<Runs, InvalidText> {
    let mut runs: Vec<(u64, Run)> = Vec::with_capacity(blocks.len());
    let mut after = 0;
    for &Segmented { first, ref lengths, count, block } in blocks {
        if first < after {
            return Err(InvalidText::Overlap(name(block)));
        }
        let left = names.origin(block.left_origin.as_ref())?;
        let right = names.origin(block.right_origin.as_ref())?;
        let piece = Piece {
            text: &block.text,
            lengths,
            count,
            deleted: block.deleted,
            ends: true,
            origins: &Origins { left, right },
        };
        push(&mut runs, first, piece);
        after = block.id.clock + 1;
    }
    Ok(Runs::new(runs))
}

/// How an error names a block.
fn name(block: &WireBlock<'_>) -> String {
    format!("{}@{}", block.id.client_id, block.id.clock)
}

/// Runs that clients read as one block.
struct Block<'a> {
    client: &'a ClientId,
    /// The clock of the last cluster.
    last: u64,
    run: &'a Run,
    /// The runs after it, of a block too long for one.
    more: Vec<&'a Run>,
}

fn blocks_of<'a>(client: &'a ClientId, runs: &'a Runs) -> Vec<Block<'a>> {
    let mut blocks: Vec<Block<'a>> = Vec::with_capacity(runs.iter().len());
    for (first, run) in runs.iter() {
        let last = first + run.count() - 1;
        match blocks.last_mut() {
            Some(block)
                if block.last + 1 == first
                    && block.more.last().unwrap_or(&block.run).is_continued_by(run.whole()) =>
            {
                block.more.push(run);
                block.last = last;
            }
            _ => blocks.push(Block { client, last, run, more: Vec::new() }),
        }
    }
    blocks
}

impl Block<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let Piece { text, deleted, origins, .. } = self.run.whole();
        out.push(b'[');
        write_id(out, self.client, self.last, 0);
        out.extend_from_slice(b",{\"id\":");
        write_id(out, self.client, self.last, 0);
        out.extend_from_slice(b",\"text\":");
        if self.more.is_empty() {
            write_string(out, text);
        } else {
            let more = self.more.iter().map(|run| run.whole().text);
            write_string(out, &std::iter::once(text).chain(more).collect::<String>());
        }
        for (member, origin) in
            [(",\"left_origin\":", &origins.left), (",\"right_origin\":", &origins.right)]
        {
            out.extend_from_slice(member.as_bytes());
            match origin {
                Some(origin) => write_id(out, &origin.client, origin.clock, origin.offset),
                None => out.extend_from_slice(b"null"),
            }
        }
        let deleted: &[u8] = if deleted { b",\"deleted\":true}]" } else { b",\"deleted\":false}]" };
        out.extend_from_slice(deleted);
    }
}

fn write_id(out: &mut Vec<u8>, client: &ClientId, clock: u64, offset: u64) {
    out.extend_from_slice(b"{\"client_id\":");
    write_string(out, client.as_str());
    out.extend_from_slice(b",\"clock\":");
    write_number(out, clock);
    out.extend_from_slice(b",\"offset\":");
    write_number(out, offset);
    out.push(b'}');
}
