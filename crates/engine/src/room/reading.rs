//! What the room reads from the store next, and what an answer is worth when it comes.
//!
//! This is the one place that decides it. The room says what it learned and where it stands
//! (`here`); it is told what to ask for, if anything. One question is under way at a time.
//!
//! | What the room learned | `Idle` | `From` | `FromAndAgain` |
//! | --- | --- | --- | --- |
//! | [`gap`](Reading::gap): deltas are missing that the answer will show | ask for the history, `From` | `From` | `FromAndAgain` |
//! | [`doubt`](Reading::doubt): more may be stored than the answer will show | ask for the history, `From` | `FromAndAgain` | `FromAndAgain` |
//! | [`other_life`](Reading::other_life): the store is in another life of the document | ask for the document, `From` | `FromAndAgain` | `FromAndAgain` |
//! | [`head`](Reading::head) in another life than a written document's | as `other_life` | as `other_life` | as `other_life` |
//! | `head` beyond `here` | as `doubt` | as `doubt` | as `doubt` |
//! | `head` at `here` or before it | `Idle` | `From` | `FromAndAgain` |
//! | [`dropped`](Reading::dropped): deltas that had come were given up | `Idle` | `FromAndAgain` | `FromAndAgain` |
//! | [`fetched`](Reading::fetched), asked for in the life the room is in | take, `Idle` | take, `Idle` | take, read on, `Idle` |
//! | `fetched`, asked for in another life | | leave, read on, `Idle` | leave, read on, `Idle` |
//! | [`reloaded`](Reading::reloaded) in this life, at `here` or beyond | take, `Idle` | take, `Idle` | take, read on, `Idle` |
//! | `reloaded` in this life, before `here` | leave, `Idle` | leave, `Idle` | leave, read on, `Idle` |
//! | `reloaded` in another life, the room has not moved since it asked | take, `Idle` | take, `Idle` | take, read on, `Idle` |
//! | `reloaded` in another life, the room has moved | | leave, read on, `Idle` | leave, read on, `Idle` |
//!
//! To read on is to ask for the history, as at a gap, once what was taken is applied.

use crate::position::{Epoch, Position, Seq};

use super::Effect;

/// Whether the store was asked, and where the room stood then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Reading {
    /// No answer is to come.
    #[default]
    Idle,
    /// The answer to a question of a room that stood here is to come.
    From(Position),
    /// The same, and it may be from before what was then stored.
    FromAndAgain(Position),
}

/// What an answer is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) struct Answer {
    /// Whether the room takes what it holds; else the room would fall back.
    pub(super) is_taken: bool,
    /// Whether the store may hold more than it showed.
    pub(super) reads_on: bool,
}

impl Reading {
    pub(super) fn is_idle(self) -> bool {
        self == Self::Idle
    }

    /// A document that nobody had written has no epoch until its first delta. Several may be named
    /// before that one comes.
    pub(super) fn begins(here: Position, epoch: Epoch) -> bool {
        here.seq == Seq(0) && here.epoch != epoch
    }

    /// Deltas before one that came are missing.
    pub(super) fn gap(&mut self, here: Position) -> Option<Effect> {
        self.is_idle().then(|| {
            *self = Self::From(here);
            Effect::Fetch(here)
        })
    }

    /// More may be stored than the room and the answer on its way know of.
    pub(super) fn doubt(&mut self, here: Position) -> Option<Effect> {
        self.dropped();
        self.gap(here)
    }

    /// Something was stored in another life of the document.
    pub(super) fn other_life(&mut self, here: Position) -> Option<Effect> {
        self.doubt(here).map(|_| Effect::Reload)
    }

    /// The store stands at `head`.
    pub(super) fn head(&mut self, here: Position, head: Position) -> Option<Effect> {
        if head.epoch != here.epoch && here.seq > Seq(0) {
            self.other_life(here)
        } else if head.seq > here.seq {
            self.doubt(here)
        } else {
            None
        }
    }

    /// Deltas that waited for those before them were given up, and are to be read after these.
    pub(super) fn dropped(&mut self) {
        if let Self::From(asked_at) = *self {
            *self = Self::FromAndAgain(asked_at);
        }
    }

    /// The history after a position came.
    pub(super) fn fetched(&mut self, here: Position) -> Answer {
        let (asked_at, again) = self.answered();
        // If not, the document was empty when this was asked for, and began another life.
        let is_taken = asked_at.is_none_or(|asked_at| asked_at.epoch == here.epoch);
        Answer { is_taken, reads_on: again || !is_taken }
    }

    /// The document came, as it stood at `loaded`.
    pub(super) fn reloaded(&mut self, here: Position, loaded: Position) -> Answer {
        let (asked_at, again) = self.answered();
        if loaded.epoch == here.epoch {
            return Answer { is_taken: loaded.seq >= here.seq, reads_on: again };
        }
        // Which epoch is the newer one only another read can tell.
        let has_moved = asked_at.is_some_and(|asked_at| asked_at != here);
        Answer { is_taken: !has_moved, reads_on: again || has_moved }
    }

    /// Where the room stood when it asked, and whether it is to ask again.
    fn answered(&mut self) -> (Option<Position>, bool) {
        match std::mem::take(self) {
            Self::Idle => (None, false),
            Self::From(asked_at) => (Some(asked_at), false),
            Self::FromAndAgain(asked_at) => (Some(asked_at), true),
        }
    }
}

#[cfg(test)]
mod tests;
