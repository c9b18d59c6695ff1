//! The stored form of a text, the same in JSON and in binary: a table of client ids, and runs
//! that refer to it.
//!
//! Clusters are stored with their lengths, so that a text reads back the same after an update
//! whose Unicode tables divide it in another way.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::TextState;
use super::run::{Origin, Origins, Piece, Run, push};
use super::runs::Runs;
use crate::ids::ClientId;
use crate::limits::{EDIT_NUMBER_MAX, TEXT_CLUSTER_BYTES_MAX};

const DELETED: u8 = 1;
const ENDS: u8 = 2;

#[derive(Serialize, Deserialize)]
struct StoredText<'a> {
    clock: u64,
    clients: Vec<ClientId>,
    #[serde(borrow)]
    runs: Vec<StoredRun<'a>>,
}

/// Client, clock of the first cluster, text, left and right origin, flags, and the bytes of each
/// cluster unless each is one character.
#[derive(Serialize, Deserialize)]
struct StoredRun<'a>(
    u32,
    u64,
    #[serde(borrow)] Cow<'a, str>,
    Option<StoredOrigin>,
    Option<StoredOrigin>,
    u8,
    Cow<'a, [u16]>,
);

/// Client, clock, offset.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct StoredOrigin(u32, u64, u64);

impl Serialize for TextState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut table = BTreeMap::new();
        for (client, runs) in &self.clients {
            table.insert(client, 0);
            for (_, run) in runs.iter() {
                for origin in [&run.origins.left, &run.origins.right].into_iter().flatten() {
                    table.insert(&origin.client, 0);
                }
            }
        }
        for (at, number) in (0..).zip(table.values_mut()) {
            *number = at;
        }
        let number = |client: &ClientId| table.get(client).copied().unwrap_or_default();
        let origin = |origin: &Option<Origin>| {
            origin.as_ref().map(|it| StoredOrigin(number(&it.client), it.clock, it.offset))
        };
        let mut stored = StoredText {
            clock: self.clock,
            clients: Vec::with_capacity(table.len()),
            runs: Vec::new(),
        };
        for (client, runs) in &self.clients {
            let client = number(client);
            stored.runs.extend(runs.iter().map(|(first, run)| {
                let Piece { text, lengths, deleted, ends, origins, .. } = run.whole();
                let flags = if deleted { DELETED } else { 0 } | if ends { ENDS } else { 0 };
                let [left, right] = [origin(&origins.left), origin(&origins.right)];
                StoredRun(client, first, text.into(), left, right, flags, lengths.into())
            }));
        }
        stored.clients.extend(table.into_keys().cloned());
        stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TextState {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let StoredText { clock, clients: names, runs } = StoredText::deserialize(from)?;
        if clock > EDIT_NUMBER_MAX {
            return Err(D::Error::custom("a text's clock is too great"));
        }
        let client = |number: u32| {
            let name = usize::try_from(number).ok().and_then(|at| names.get(at));
            name.ok_or_else(|| D::Error::custom("a text names a client that is not in its table"))
        };
        let origin = |origin: Option<StoredOrigin>| {
            let read = |StoredOrigin(number, clock, offset)| {
                Ok(Origin { client: client(number)?.clone(), clock, offset })
            };
            origin.map(read).transpose()
        };
        let mut clients: BTreeMap<ClientId, Vec<(u64, Run)>> = BTreeMap::new();
        for StoredRun(number, first, text, left, right, flags, lengths) in runs {
            let origins = Origins { left: origin(left)?, right: origin(right)? };
            let piece = read_piece(&text, &lengths, flags, &origins).map_err(D::Error::custom)?;
            let runs = clients.entry(client(number)?.clone()).or_default();
            let after = runs.last().map_or(1, |(start, run)| start + run.count());
            if first < after || first > EDIT_NUMBER_MAX.saturating_sub(piece.count as u64) + 1 {
                return Err(D::Error::custom("the runs of a text overlap or are out of order"));
            }
            push(runs, first, piece);
        }
        let clients = clients.into_iter().map(|(client, runs)| (client, Runs::new(runs))).collect();
        Ok(Self { clock, clients })
    }
}

fn read_piece<'a>(
    text: &'a str,
    lengths: &'a [u16],
    flags: u8,
    origins: &'a Origins,
) -> Result<Piece<'a>, &'static str> {
    let mut end = 0;
    for length in lengths.iter().map(|&length| usize::from(length)) {
        end += length;
        if !(1..=TEXT_CLUSTER_BYTES_MAX).contains(&length) || !text.is_char_boundary(end) {
            return Err("the cluster lengths of a text do not fit it");
        }
    }
    if text.is_empty() || (!lengths.is_empty() && end != text.len()) {
        return Err("a run of a text is empty or longer than its clusters");
    }
    if flags > (DELETED | ENDS) {
        return Err("a run of a text has unknown flags");
    }
    let count = if lengths.is_empty() { text.chars().count() } else { lengths.len() };
    let [deleted, ends] = [DELETED, ENDS].map(|flag| flags & flag != 0);
    Ok(Piece { text, lengths, count, deleted, ends, origins })
}
