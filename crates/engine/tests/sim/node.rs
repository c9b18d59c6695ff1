//! One node as far as it is not the engine: its rooms with their queues, and its committer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use synckit_engine::delta::{Delta, DeltaId};
use synckit_engine::ids::{Millis, NodeId, SessionId};
use synckit_engine::peer::PeerMessage;
use synckit_engine::position::{Delivery, Epoch, Position};
use synckit_engine::room::{Command, Input, RecentBudget, Room, TicketId, Window};
use synckit_engine::time::{Moment, Now};

use crate::random::Random;

/// Edits in one append. Few, so that groups of all sizes and leftovers occur.
const GROUP_MAX: usize = 4;

/// Enough for all that is written in a run.
const RECENT_BYTES: usize = 1 << 30;

/// From the first moment to 1970: what one clock shows means nothing on the other.
const MOMENTS_FROM: Millis = 1_600_000_000_000;

pub(crate) fn moment(now: Millis) -> Moment {
    Moment(now - MOMENTS_FROM)
}

pub(crate) fn clocks(now: Millis) -> Now {
    Now { wall: now, moment: moment(now) }
}

/// A room of a node, from the moment it starts to load.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Tells this room from an earlier one of the same document.
    pub(crate) instance: u64,
    /// None while it loads.
    pub(crate) room: Option<Room<SessionId>>,
    pub(crate) mailbox: VecDeque<(SessionId, Command)>,
    /// What other nodes said while it loads.
    pub(crate) early: Vec<(NodeId, PeerMessage)>,
    pub(crate) idle_since: Option<Millis>,
    /// What the room wants to hear the end of.
    pub(crate) windows: Vec<Window>,
    /// When the minute ends for which it keeps what is new.
    pub(crate) recent_until: Option<Millis>,
    /// Deltas of each edit the store has not answered.
    pub(crate) tickets: BTreeMap<TicketId, usize>,
    /// Where its last edit stands that the store took.
    pub(crate) stored_at: Position,
    /// Where it stood after the input before.
    pub(crate) before: Position,
}

impl Slot {
    pub(crate) fn new(instance: u64) -> Self {
        Self {
            instance,
            room: None,
            mailbox: VecDeque::new(),
            early: Vec::new(),
            idle_since: None,
            windows: Vec::new(),
            recent_until: None,
            tickets: BTreeMap::new(),
            stored_at: Position::default(),
            before: Position::default(),
        }
    }
}

/// Something for one room, dropped when that room is gone.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) document: usize,
    pub(crate) instance: u64,
    pub(crate) input: Input<SessionId>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum ReadOf {
    /// The document, for a room that opens.
    Load,
    After(Position),
    Document,
}

#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) document: usize,
    pub(crate) instance: u64,
    pub(crate) of: ReadOf,
    /// What the store said; on its way.
    pub(crate) answer: Option<Input<SessionId>>,
}

#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) document: usize,
    pub(crate) instance: u64,
    pub(crate) id: TicketId,
    pub(crate) deltas: Vec<Delta>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) is_up: bool,
    pub(crate) slots: BTreeMap<usize, Slot>,
    pub(crate) reads: Vec<Read>,
    /// Edits that wait for the append that runs.
    pub(crate) lane: VecDeque<Ticket>,
    pub(crate) group: Vec<Ticket>,
    /// Answers to edits. Those to one room are in order.
    pub(crate) answers: Vec<Answer>,
    /// Where the store stood when it was asked.
    pub(crate) heads: Vec<Answer>,
    /// Connections that are broken and whose end has not been noticed.
    pub(crate) closing: Vec<SessionId>,
    /// When each node was last heard of.
    pub(crate) heard: BTreeMap<NodeId, Millis>,
    pub(crate) lived_at: Millis,
    /// When its rooms last said again who is there.
    pub(crate) repeated_at: Millis,
    pub(crate) recent: Arc<RecentBudget>,
}

impl Node {
    /// The store took a group, whatever it answers: it stands there, by the room that gave it.
    pub(crate) fn note_stored(&mut self, group: &[Ticket], stored: &[(Epoch, Vec<Delivery>)]) {
        for (Ticket { document, instance, .. }, (epoch, deliveries)) in group.iter().zip(stored) {
            let slot = self.slots.get_mut(document).filter(|slot| slot.instance == *instance);
            let seqs = deliveries.iter().map(|delivery| match delivery {
                Delivery::Stored(seq) | Delivery::Repeated(seq) => *seq,
            });
            if let (Some(slot), Some(seq)) = (slot, seqs.max()) {
                slot.stored_at = Position { epoch: *epoch, seq };
            }
        }
    }

    pub(crate) fn new(id: NodeId, now: Millis) -> Self {
        Self {
            id,
            is_up: true,
            slots: BTreeMap::new(),
            reads: Vec::new(),
            lane: VecDeque::new(),
            group: Vec::new(),
            answers: Vec::new(),
            heads: Vec::new(),
            closing: Vec::new(),
            heard: BTreeMap::new(),
            lived_at: now,
            repeated_at: now,
            recent: Arc::new(RecentBudget::new(RECENT_BYTES)),
        }
    }

    /// The next group for one append. An edit that repeats a delta of the group stays behind with
    /// all that follow it: it must see what became of the first.
    pub(crate) fn take_group(&mut self, random: &mut Random) {
        if !self.group.is_empty() {
            return;
        }
        let size = 1 + random.below(GROUP_MAX);
        let mut seen: Vec<(usize, DeltaId)> = Vec::new();
        while self.group.len() < size
            && let Some(ticket) = self.lane.front()
        {
            let ids: Vec<_> =
                ticket.deltas.iter().map(|delta| (ticket.document, delta.id.clone())).collect();
            if ids.iter().any(|id| seen.contains(id)) {
                break;
            }
            seen.extend(ids);
            self.group.extend(self.lane.pop_front());
        }
    }

    /// An answer that is the first to its room.
    pub(crate) fn next_answer(&mut self, random: &mut Random) -> Option<Answer> {
        if self.answers.is_empty() {
            return None;
        }
        let instance = self.answers[random.below(self.answers.len())].instance;
        let at = self.answers.iter().position(|answer| answer.instance == instance)?;
        Some(self.answers.remove(at))
    }

    /// A read that the store has answered, or not yet, as asked for.
    pub(crate) fn pick_read(&self, is_answered: bool, random: &mut Random) -> Option<usize> {
        let fits = |read: &Read| read.answer.is_some() == is_answered;
        let fitting: Vec<_> = (0..self.reads.len()).filter(|at| fits(&self.reads[*at])).collect();
        (!fitting.is_empty()).then(|| random.one_of(&fitting))
    }
}
