//! The clusters of one client, by clock.

use std::collections::{BTreeMap, btree_map};
use std::ops::Range;

use super::run::{Piece, Run, push};
use crate::limits::TEXT_RUN_CLUSTERS_MAX;

/// Runs that a walk passes one by one before it searches.
const STEPS_MAX: usize = 8;

/// Runs that do not overlap, by the clock of their first cluster, and as long as can be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Runs {
    runs: BTreeMap<u64, Run>,
    /// Sum over the runs.
    size: usize,
}

impl Runs {
    /// Takes what [`push`] made.
    pub(super) fn new(runs: Vec<(u64, Run)>) -> Self {
        let size = runs.iter().map(|(_, run)| run.size()).sum();
        Self { runs: runs.into_iter().collect(), size }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Each run with the clock of its first cluster.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, &Run)> {
        self.runs.iter().map(|(&first, run)| (first, run))
    }

    /// Puts in a run that overlaps no other and neither continues one nor is continued.
    pub(super) fn insert(&mut self, first: u64, run: Run) {
        self.size += run.size();
        self.runs.insert(first, run);
    }

    pub(super) fn join(&mut self, other: &Self) {
        let mut walk = self.walk();
        let mut unknown = other.iter().collect::<Vec<_>>();
        unknown.retain(|(first, run)| !walk.lacks(*first, run, &mut |_, _| false));
        // Run by run, not piece by piece: so a run that differs in many places is taken in once.
        for (first, run) in unknown {
            self.put(first, run.whole());
        }
    }

    pub(super) fn minus(&self, known: &Self) -> Self {
        let mut runs = Vec::new();
        let mut walk = known.walk();
        for (first, run) in self.iter() {
            walk.lacks(first, run, &mut |clock, piece| {
                push(&mut runs, clock, piece);
                true
            });
        }
        Self::new(runs)
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        let mut walk = self.walk();
        other.iter().all(|(first, run)| walk.lacks(first, run, &mut |_, _| false))
    }

    fn walk(&self) -> Walk<'_> {
        Walk { runs: self, at: None, ahead: self.runs.range(..0) }
    }

    /// Joins one run.
    fn put(&mut self, first: u64, piece: Piece<'_>) {
        let end = first + piece.count as u64;
        let mut old = Vec::new();
        // A neighbour that the piece cannot continue may stay where it is.
        let before = self.runs.range(..first).next_back();
        let before = before.filter(|(start, run)| {
            let touches = !first.is_multiple_of(TEXT_RUN_CLUSTERS_MAX) && !run.ends;
            *start + run.count() >= first + u64::from(!touches)
        });
        if let Some(start) = before.map(|(&start, _)| start) {
            self.take(start, &mut old);
        }
        let reach = end + u64::from(!end.is_multiple_of(TEXT_RUN_CLUSTERS_MAX) && !piece.ends);
        while let Some(start) = self.runs.range(first..reach).next().map(|(&start, _)| start) {
            self.take(start, &mut old);
        }
        let mut new = Vec::with_capacity(1);
        weave(&old, first, piece, &mut new);
        for (first, run) in new {
            self.insert(first, run);
        }
    }

    fn take(&mut self, start: u64, into: &mut Vec<(u64, Run)>) {
        if let Some(run) = self.runs.remove(&start) {
            self.size -= run.size();
            into.push((start, run));
        }
    }
}

/// A way through runs in order.
struct Walk<'r> {
    runs: &'r Runs,
    /// The first run that may have clusters with the clocks that come next.
    at: Option<(u64, &'r Run)>,
    /// The runs after it.
    ahead: btree_map::Range<'r, u64, Run>,
}

impl Walk<'_> {
    /// Tells `found` every piece of `run` whose clusters are not all here, in order, until that
    /// answers false. Whether it never did. Each run asked for comes after those before.
    fn lacks<'a>(
        &mut self,
        first: u64,
        run: &'a Run,
        found: &mut impl FnMut(u64, Piece<'a>) -> bool,
    ) -> bool {
        let end = first + run.count();
        let cut = |clocks: Range<u64>| run.whole().clocks(first, clocks);
        self.go_to(first);
        let mut at = first;
        while let Some((start, mine)) = self.at.filter(|(start, _)| *start < end) {
            let stop = start + mine.count();
            let (low, high) = (start.max(first), end.min(stop));
            if at < low && !found(at, cut(at..low)) {
                return false;
            }
            let held = mine.whole().clocks(start, low..high);
            if !exceeds(low, cut(low..high), held, found) {
                return false;
            }
            at = high;
            if stop > end {
                break;
            }
            self.step();
        }
        at == end || found(at, cut(at..end))
    }

    fn step(&mut self) {
        self.at = self.ahead.next().map(|(&start, run)| (start, run));
    }

    /// Goes on to the first run that ends after `clock`: by steps if it is near, since a search
    /// costs as much as many of them.
    fn go_to(&mut self, clock: u64) {
        let is_before = |(start, run): &(u64, &Run)| start + run.count() <= clock;
        for _ in 0..STEPS_MAX {
            if !self.at.is_some_and(|at| is_before(&at)) {
                break;
            }
            self.step();
        }
        if self.at.is_none_or(|at| is_before(&at)) {
            let start =
                self.runs.runs.range(..=clock).next_back().map_or(clock, |(start, _)| *start);
            self.ahead = self.runs.runs.range(start..);
            self.step();
            if self.at.is_some_and(|at| is_before(&at)) {
                self.step();
            }
        }
    }
}

/// Tells `found` what of `piece` is more than `held`, which has the same clocks.
fn exceeds<'a>(
    first: u64,
    piece: Piece<'a>,
    held: Piece<'_>,
    found: &mut impl FnMut(u64, Piece<'a>) -> bool,
) -> bool {
    if piece.has_payload_of(&held) {
        return if piece.deleted && !held.deleted {
            found(first, piece)
        } else if piece.ends && !held.ends {
            let last = piece.count - 1;
            found(first + last as u64, piece.slice(last..piece.count))
        } else {
            true
        };
    }
    (first..).zip(piece.clusters().zip(held.clusters())).all(|(clock, (new, old))| {
        let more = new.compare_payload(&old).is_gt()
            || (new.deleted && !old.deleted)
            || (new.ends && !old.ends);
        !more || found(clock, new)
    })
}

/// Appends to `out` the join of `piece` with `old`, runs in order that overlap or touch it.
fn weave(old: &[(u64, Run)], first: u64, piece: Piece<'_>, out: &mut Vec<(u64, Run)>) {
    let end = first + piece.count as u64;
    let mut at = first;
    for (start, run) in old {
        let (start, stop, whole) = (*start, *start + run.count(), run.whole());
        let (low, high) = (start.clamp(at, end), stop.clamp(at, end));
        push(out, start, whole.clocks(start, start..low.max(start).min(stop)));
        push(out, at, piece.clocks(first, at..low));
        push_joined(out, low, piece.clocks(first, low..high), whole.clocks(start, low..high));
        push(out, high, whole.clocks(start, high..stop));
        at = high;
    }
    push(out, at, piece.clocks(first, at..end));
}

/// Appends the join of two pieces with the same clocks.
fn push_joined(out: &mut Vec<(u64, Run)>, first: u64, one: Piece<'_>, other: Piece<'_>) {
    let (deleted, ends) = (one.deleted || other.deleted, one.ends || other.ends);
    if one.has_payload_of(&other) {
        push(out, first, Piece { deleted, ends, ..one });
        return;
    }
    for (clock, (one, other)) in (first..).zip(one.clusters().zip(other.clusters())) {
        let greater = if one.compare_payload(&other).is_lt() { other } else { one };
        push(out, clock, Piece { deleted, ends: one.ends || other.ends, ..greater });
    }
}
