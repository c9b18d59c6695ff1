//! What a node does for its rooms now and then: it compares them with the store, runs their timers
//! and closes those that nobody needs.

use synckit_engine::peer::PeerMessage;
use synckit_engine::position::{Position, Seq};
use synckit_engine::room::Input;

use crate::node::{Answer, Slot, moment};
use crate::plan::{ALIVE_MS, IDLE_MS, NODE_SILENT_MS, REPEAT_MS};
use crate::sabotage::Sabotage;
use crate::world::World;

impl World {
    /// A node asks the store where its open documents stand.
    pub(crate) fn ask_heads(&mut self, node: usize) {
        if !self.store.is_up || self.plan.is(Sabotage::SkipPositionChecks) {
            return;
        }
        let Self { nodes, store, .. } = self;
        let node = &mut nodes[node];
        for (document, slot) in &node.slots {
            let (document, instance) = (*document, slot.instance);
            let input = Input::Head(store.head(document));
            node.heads.push(Answer { document, instance, input });
        }
    }

    /// The answer arrives; rooms that are behind learn it.
    pub(crate) fn answer_head(&mut self, node: usize) -> bool {
        if self.nodes[node].heads.is_empty() {
            return false;
        }
        let answer = self.nodes[node].heads.remove(0);
        if self.is_open(node, &answer)
            && let Input::Head(head) = answer.input
            && let Some(room) = &self.nodes[node].slots[&answer.document].room
            && is_behind(room.position(), head)
        {
            self.give(node, answer.document, Input::Head(head));
        }
        true
    }

    /// Everything of a node that time brings.
    pub(crate) fn run_timers(&mut self, node: usize) {
        if !self.nodes[node].is_up {
            return;
        }
        let now = self.now;
        let Self { nodes, bus, .. } = self;
        let this = &mut nodes[node];
        let lives = now >= this.lived_at + ALIVE_MS;
        let repeats = now >= this.repeated_at + REPEAT_MS;
        let silent: Vec<_> = match bus.links[node] {
            true => this.heard.extract_if(.., |_, at| *at + NODE_SILENT_MS < now).collect(),
            false => Vec::new(),
        };
        if lives {
            this.lived_at = now;
            self.publish(node, None, &PeerMessage::Alive);
        }
        if repeats {
            self.nodes[node].repeated_at = now;
        }
        self.end_minutes(node);
        for document in self.open_rooms(node) {
            if repeats {
                self.give(node, document, Input::RepeatAwareness);
            }
            for (gone, _) in &silent {
                self.give(
                    node,
                    document,
                    Input::NodeGone { node: gone.clone(), until: moment(now) },
                );
            }
            let due = |slot: &Slot| slot.room.as_ref().unwrap().next_tick() <= Some(moment(now));
            let slot = &self.nodes[node].slots[&document];
            let ticks = slot.room.as_ref().unwrap().next_tick().is_some() && due(slot);
            if ticks && !self.plan.is(Sabotage::ForgetTicks) {
                self.give(node, document, Input::Tick(moment(now)));
            }
            self.release(node, document);
        }
    }

    /// Ends the windows of a node's rooms; whether there were any.
    pub(crate) fn end_windows(&mut self, node: usize) -> bool {
        let mut moved = false;
        for document in self.open_rooms(node) {
            let slot = self.nodes[node].slots.get_mut(&document).unwrap();
            for window in std::mem::take(&mut slot.windows) {
                moved = true;
                self.give(node, document, Input::Over(window));
            }
        }
        moved
    }

    pub(crate) fn open_rooms(&self, node: usize) -> Vec<usize> {
        let slots = self.nodes[node].slots.iter();
        slots.filter(|(_, slot)| slot.room.is_some()).map(|(document, _)| *document).collect()
    }

    /// Closes a room that nobody has needed for a while.
    fn release(&mut self, node: usize, document: usize) {
        let slot = self.nodes[node].slots.get_mut(&document).unwrap();
        if !slot.room.as_ref().unwrap().is_idle() || !slot.mailbox.is_empty() {
            slot.idle_since = None;
            return;
        }
        let since = *slot.idle_since.get_or_insert(self.now);
        if self.now >= since + IDLE_MS {
            self.nodes[node].slots.remove(&document);
            self.note(|| format!("node {node} releases document {document}"));
        }
    }
}

/// Whether a room has to read, as the server decides it.
fn is_behind(here: Position, head: Option<Position>) -> bool {
    match head {
        Some(head) if here.seq == Seq(0) || here.epoch == head.epoch => head.seq > here.seq,
        Some(_) => true,
        None => here.seq > Seq(0),
    }
}
